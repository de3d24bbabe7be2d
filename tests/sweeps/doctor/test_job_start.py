"""Whether jobs can start: never, later or now, by what Slurm reports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sweeps.doctor import job_start
from sweeps.doctor.cluster_info import ClusterInfo, JobRequirements
from sweeps.doctor.slurm_accounts import Accounting
from sweeps.doctor.slurm_nodes import NodeGroup
from sweeps.slurm_environment import SbatchVariables

NODE = NodeGroup(state="idle", count=2, cpus=8, memory_mb=16000, gpus={"": 2})
UNAVAILABLE = "Requested node configuration is not available"
"""What `sbatch --test-only` prints if no node has what is requested, and if none is up."""


def make_cluster(nodes: tuple[NodeGroup, ...] = (NODE,), **fields: Any) -> ClusterInfo:
    """A cluster with the default partition `normal` (one hour) and the partition `long`."""
    normal = {"PartitionName": "normal", "Default": "YES", "State": "UP", "MaxTime": "01:00:00"}
    long = {"PartitionName": "long", "State": "UP", "MaxTime": "UNLIMITED", "MaxNodes": "1"}
    closed = {"PartitionName": "closed", "State": "INACTIVE", "AllowAccounts": "lab"}
    partitions = {"normal": normal, "long": long, "closed": closed}
    info = ClusterInfo(config={}, partitions=partitions, node_groups=nodes)
    return replace(info, **fields)


def make_requirements(*options: str, **fields: Any) -> JobRequirements:
    return JobRequirements(sbatch_options=options, **{"timeout_min": 30, **fields})


@pytest.mark.parametrize(
    ("partition", "level", "text"),
    [
        (None, "ok", "normal"),
        ("long,normal", "ok", "long, normal"),
        ("gpu", "problem", "no partition gpu; the partitions are closed, long, normal"),
        ("normal,gpu", "problem", "no partition gpu"),
        ("closed", "problem", "State=INACTIVE"),
    ],
)
def test_partitions_exist_and_accept_jobs(partition: str | None, level: str, text: str) -> None:
    requirements = make_requirements(partition=partition)
    diagnostic = job_start.check_partition(make_cluster(), requirements)
    assert (diagnostic.level, text in diagnostic.message) == (level, True)


def test_a_partition_that_the_user_has_exported_is_named() -> None:
    variables = SbatchVariables(applied={"SBATCH_PARTITION": "gpu"})
    exported = make_requirements(sbatch_variables=variables)
    diagnostic = job_start.check_partition(make_cluster(), exported)
    assert "no partition gpu" in diagnostic.message
    assert "SBATCH_PARTITION" in (diagnostic.fix or "")
    requested = make_requirements(sbatch_variables=variables, partition="gpus")
    diagnostic = job_start.check_partition(make_cluster(), requested)
    assert "SBATCH_PARTITION" not in (diagnostic.fix or "")


def test_jobs_wait_for_a_partition_that_is_down() -> None:
    cluster = make_cluster(partitions={"normal": {"Default": "YES", "State": "DOWN"}})
    assert job_start.check_partition(cluster, make_requirements()).level == "warning"


@pytest.mark.parametrize(
    ("path", "level"),
    [
        (
            "/home/josé/a b (1)[2]{3} #4 100%/%j_%t/e=f ~g $HOME & ; , ' \" ! * ? < > | `x`",
            "ok",
        ),
        ("/data/run:1", "problem"),
        ("/data/a\\b", "problem"),
        ("/data/a\nb", "problem"),
        ("/data/\udcff", "problem"),
    ],
)
def test_a_path_that_slurm_cannot_be_given_is_refused(path: str, level: str) -> None:
    requirements = make_requirements(store_path=path)
    diagnostic = job_start.check_store_path(make_cluster(), requirements)
    assert diagnostic.level == level
    assert "\n" not in diagnostic.message
    diagnostic.message.encode()


@pytest.mark.parametrize(
    ("options", "level", "text"),
    [
        (("--mem=15G", "--cpus-per-task=8", "--gres=gpu:2"), "ok", ""),
        (
            ("--mem=999G",),
            "problem",
            "999 GB of memory requested, nodes of normal have at most",
        ),
        (("--gres=gpu:a100:1",), "problem", "gpu:a100:1 requested, nodes of normal have gpu:2"),
        (("--gpus-per-node=3",), "problem", "gpu:3 requested"),
        (("--cpus-per-task=3", "--ntasks-per-node=3"), "problem", "9 cores requested"),
        (("--constraint=a100",), "problem", "the features a100 requested"),
    ],
)
def test_what_no_node_has_is_named(options: tuple[str, ...], level: str, text: str) -> None:
    diagnostic = job_start.check_node_size(make_cluster(), make_requirements(*options))
    assert (diagnostic.level, text in diagnostic.message) == (level, True)


@pytest.mark.parametrize(
    ("nodes", "options", "level"),
    [
        ((NODE,), ("--nodes=2",), "ok"),
        ((NODE,), ("--nodes=3",), "problem"),
        ((NODE,), ("--nodes=2", "--partition=long"), "problem"),
        ((replace(NODE, state="down*"),), ("--nodes=2",), "warning"),
        ((replace(NODE, state="drained"), replace(NODE, count=1)), ("--nodes=2",), "warning"),
        ((replace(NODE, state="allocated"), replace(NODE, state="mixed")), ("--nodes=3",), "ok"),
        ((), ("--nodes=3",), "ok"),
    ],
)
def test_nodes_are_too_few_or_not_usable_now(
    nodes: tuple[NodeGroup, ...], options: tuple[str, ...], level: str
) -> None:
    partition = "long" if "--partition=long" in options else None
    requirements = make_requirements(*options, partition=partition)
    assert job_start.check_nodes(make_cluster(nodes), requirements).level == level


@pytest.mark.parametrize(
    ("partition", "minutes", "level"),
    [
        (None, 60, "ok"),
        (None, 61, "problem"),
        ("long", 6000, "ok"),
        ("normal,long", 6000, "ok"),
    ],
)
def test_the_longest_of_the_partitions_limits_the_time(
    partition: str | None, minutes: int, level: str
) -> None:
    requirements = make_requirements(partition=partition, timeout_min=minutes)
    diagnostic = job_start.check_time_limit(make_cluster(), requirements)
    assert diagnostic.level == level
    assert ("launcher.timeout_min=60" in diagnostic.fix) == (level == "problem")


def test_accounts_may_come_from_the_environment() -> None:
    variables = SbatchVariables(applied={"SBATCH_ACCOUNT": "art", "SBATCH_PARTITION": "closed"})
    requirements = make_requirements(sbatch_variables=variables)
    cluster = make_cluster(accounting=Accounting(has_database=True))
    diagnostic = job_start.check_account(cluster, requirements)
    assert diagnostic.level == "problem"
    assert diagnostic.message == "account art: partition closed allows lab"
    requirements = make_requirements("--account=Lab", sbatch_variables=variables)
    assert job_start.check_account(cluster, requirements).level == "ok"


@pytest.mark.parametrize(
    ("error", "nodes", "reservations", "level"),
    [
        (None, (NODE,), (), "ok"),
        (UNAVAILABLE, (NODE,), (), "problem"),
        (UNAVAILABLE, (replace(NODE, state="drained"),), (), "warning"),
        (UNAVAILABLE, (NODE,), ("maint",), "warning"),
        ("Invalid account or account/partition combination specified", (NODE,), (), "problem"),
        ("Invalid qos specification", (NODE,), (), "problem"),
        (
            "Requested time limit is invalid (missing or exceeds some limit)",
            (NODE,),
            (),
            "problem",
        ),
        ("Unable to contact slurm controller (connect failure)", (NODE,), (), "warning"),
        ("Resource temporarily unavailable", (NODE,), (), "warning"),
        ("Requested reservation is invalid", (NODE,), (), "problem"),
        (
            "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
            (NODE,),
            (),
            "warning",
        ),
    ],
)
def test_a_rejection_that_may_pass_is_a_warning(
    error: str | None, nodes: tuple[NodeGroup, ...], reservations: tuple[str, ...], level: str
) -> None:
    cluster = make_cluster(nodes, sbatch_error=error, reservations=reservations)
    diagnostic = job_start.check_test_submission(cluster, make_requirements())
    assert diagnostic.level == level
    assert (error or "accepted") in diagnostic.message


@pytest.mark.parametrize(
    ("options", "errors", "level"),
    [
        ((), {}, "ok"),
        (("--time=60",), {}, "ok"),
        (("--time=60", "--partition=normal"), {}, "ok"),
        (("--time=61", "--partition=normal"), {}, "problem"),
        (("--time=60",), {"follow_up_error": "Invalid partition name specified"}, "problem"),
        (("--time=60",), {"follow_up_error": UNAVAILABLE}, "ok"),
        (("--time=60",), {"follow_up_error": "Invalid x", "sbatch_error": "Invalid x"}, "ok"),
    ],
)
def test_the_follow_up_job_can_start(
    options: tuple[str, ...], errors: dict[str, str], level: str
) -> None:
    """An error that the cells have too is reported for them."""
    requirements = make_requirements(follow_up_options=options)
    assert job_start.check_follow_up(make_cluster(**errors), requirements).level == level
