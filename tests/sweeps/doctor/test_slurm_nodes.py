"""What nodes have and jobs request, as sinfo and sbatch write it."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps.doctor.slurm_nodes import (
    NodeRequest,
    count_nodes,
    find_unmet_requests,
    parse_gpus,
    parse_memory_mb,
    parse_node_groups,
    parse_request,
)

SINFO = """\
idle|4|128|515000|gpu:a100:4(S:0-1)|a100,nvlink
mixed|2|128|515000|gpu:a100:4(S:0-1)|a100,nvlink
drained*|1|64|1030000|gpu:v100:8(S:0-1),shard:v100:32(S:0-1)|v100
reserved|3|16|16000|(null)|(null)
"""
"""As `sinfo -h -e -o "%T|%D|%c|%m|%G|%f"` prints it."""
GROUPS = parse_node_groups(SINFO.splitlines())


def test_node_groups_are_parsed() -> None:
    assert [(g.count, g.cpus, g.memory_mb, g.is_usable) for g in GROUPS] == [
        (4, 128, 515000, True),
        (2, 128, 515000, True),
        (1, 64, 1030000, False),
        (3, 16, 16000, False),
    ]
    assert [g.gpus for g in GROUPS] == [{"a100": 4}, {"a100": 4}, {"v100": 8}, {}]
    assert GROUPS[0].features == {"a100", "nvlink"}
    assert GROUPS[3].features == frozenset()
    assert parse_node_groups(["sinfo: error: something else"]) == ()


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("gpu:2", {"": 2}),
        ("gpu", {"": 1}),
        ("gpu:A100", {"a100": 1}),
        ("gpu:a100:2,gpu:v100:1", {"a100": 2, "v100": 1}),
        ("gpu:tesla:4(S:0,2)", {"tesla": 4}),
        ("mps:100,license:x:1", {}),
        ("gres/gpu:2", {"": 2}),
        ("", {}),
    ],
)
def test_gpus_are_parsed(gres: str, gpus: dict[str, int]) -> None:
    assert parse_gpus(gres) == gpus


@pytest.mark.parametrize(
    ("text", "memory_mb"),
    [("1536MB", 1536), ("20G", 20480), ("4000", 4000), ("2T", 2**21), ("0", 0), ("all", 0)],
)
def test_sizes_are_parsed(text: str, memory_mb: float) -> None:
    assert parse_memory_mb(text) == memory_mb


@pytest.mark.parametrize(
    ("options", "variables", "request_fields"),
    [
        (("--nodes=2", "--requeue"), {}, {"nodes": 2}),
        (("--ntasks-per-node=4", "--cpus-per-task=8"), {}, {"nodes": 3, "cpus": 32}),
        (("--mem=1536MB",), {}, {"nodes": 3, "memory_mb": 1536.0}),
        (("--gpus-per-node=2",), {}, {"nodes": 3, "gpus": {"": 2}}),
        (("--gres=gpu:a100:1",), {"gres": "gpu:4"}, {"nodes": 3, "gpus": {"a100": 1}}),
        ((), {"gpus_per_node": "v100:2"}, {"nodes": 3, "gpus": {"v100": 2}}),
        (
            ("--mem-per-cpu=2G", "--cpus-per-task=4"),
            {},
            {"nodes": 3, "cpus": 4, "memory_mb": 8192.0},
        ),
        (("--constraint=a100&nvlink",), {}, {"nodes": 3, "features": {"a100", "nvlink"}}),
        (("--constraint=[a100|v100]*2",), {}, {"nodes": 3}),
    ],
)
def test_what_options_request_of_a_node(
    options: tuple[str, ...], variables: dict[str, str], request_fields: dict[str, Any]
) -> None:
    assert parse_request(options, variables, nodes=3) == NodeRequest(**request_fields)


@pytest.mark.parametrize(
    ("request_fields", "unmet", "num_nodes"),
    [
        ({}, [], 10),
        ({"cpus": 128}, [], 6),
        ({"cpus": 129}, [("129 cores", "at most 128")], 0),
        ({"memory_mb": 2_000_000.0}, [("1953.12 GB of memory", "at most 1006 GB")], 0),
        ({"gpus": {"": 8}}, [], 1),
        (
            {"gpus": {"h100": 1}},
            [("gpu:h100:1", "gpu:a100:4 or gpu:v100:8 or no GPU")],
            0,
        ),
        ({"features": frozenset({"a100"})}, [], 6),
        ({"features": frozenset({"h100"})}, [("the features h100", "a100, nvlink, v100")], 0),
        ({"gpus": {"": 8}, "cpus": 128}, [], 0),
    ],
)
def test_requests_that_no_node_meets_are_named(
    request_fields: dict[str, Any], unmet: list[tuple[str, str]], num_nodes: int
) -> None:
    request = NodeRequest(**request_fields)
    assert [(asked, has) for asked, has, _ in find_unmet_requests(request, GROUPS)] == unmet
    assert count_nodes(request, GROUPS) == num_nodes
