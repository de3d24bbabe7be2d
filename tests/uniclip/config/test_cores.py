"""Cores of a process and the data workers that they allow."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.helpers.small_runs import tiny
from uniclip.config import cores


@pytest.fixture
def allow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the cores that the operating system allows, and variables of a job."""

    def set_allocation(num_cores: int, **variables: str) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(num_cores)))
        for name in (cores.CORES_VARIABLE, "SLURM_CPUS_PER_TASK", "LOCAL_WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_allocation


@pytest.mark.parametrize(
    ("num_cores", "variables", "expected"),
    [
        (6, {}, 6),
        (6, {"SLURM_CPUS_PER_TASK": "4"}, 4),
        (6, {"SLURM_CPUS_PER_TASK": "64"}, 6),  # the cgroup of the job allows fewer
        (6, {"SLURM_CPUS_PER_TASK": "4", cores.CORES_VARIABLE: "2"}, 2),  # workers in a job
        (6, {"LOCAL_WORLD_SIZE": "4"}, 1),
        (6, {"LOCAL_WORLD_SIZE": "8"}, 1),
        (6, {"LOCAL_WORLD_SIZE": "2", "SLURM_CPUS_PER_TASK": "x"}, 3),
    ],
)
def test_the_cores_of_a_process(
    allow: Callable[..., None], num_cores: int, variables: dict[str, str], expected: int
) -> None:
    allow(num_cores, **variables)
    assert cores.count_process_cores() == expected


@pytest.mark.parametrize(
    ("device", "num_workers", "num_threads", "num_cores", "expected"),
    [
        ("cuda", None, 1, 8, 7),
        ("cuda:1", None, 3, 8, 5),
        ("cuda", None, 1, 1, 0),
        ("cuda", None, 1, 128, cores.MAX_DERIVED_WORKERS),
        ("cpu", None, 1, 8, 0),
        ("cuda", 0, 1, 8, 0),
        ("cpu", 3, 1, 1, 3),
    ],
)
def test_data_workers_follow_from_device_and_cores(
    allow: Callable[..., None],
    device: str,
    num_workers: int | None,
    num_threads: int,
    num_cores: int,
    expected: int,
) -> None:
    allow(num_cores)
    runtime: dict[str, Any] = {"device": device, "num_workers": num_workers}
    config = tiny(runtime=runtime, train={"num_threads": num_threads})
    assert cores.derive_num_workers(config) == expected


def test_a_job_requests_cores_for_threads_and_data_workers() -> None:
    assert cores.count_requested_cores(3, 2, "cpu") == 5
    assert cores.count_requested_cores(3, None, "cpu") == 3
    assert cores.count_requested_cores(3, 0, "cuda") == 3
    assert cores.count_requested_cores(1, None, "cuda") == 1 + cores.REQUESTED_WORKERS
