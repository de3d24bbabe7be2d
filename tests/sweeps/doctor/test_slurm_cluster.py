"""Checks of a cluster, by what Slurm reports."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps.doctor import slurm_cluster
from sweeps.doctor.cluster_info import ClusterInfo, JobRequirements
from sweeps.doctor.diagnostic import Diagnostic
from sweeps.doctor.slurm_nodes import NodeGroup
from sweeps.slurm_environment import SbatchVariables


def levels(diagnostics: list[Diagnostic]) -> dict[str, str]:
    return {d.check: d.level for d in diagnostics}


CONFIG = {
    "PreemptType": "preempt/partition_prio",
    "PreemptMode": "REQUEUE",
    "JobRequeue": "1",
    "MaxArraySize": "1001",
    "MaxJobCount": "10000",
    "MinJobAge": "300 sec",
    "AccountingStorageType": "accounting_storage/none",
}
PARTITION = {"PartitionName": "gpu", "State": "UP", "Default": "YES", "MaxTime": "1-00:00:00",
        "PriorityTier": "1", "PreemptMode": "REQUEUE", "GraceTime": "60"}  # fmt: skip
URGENT = {"PartitionName": "urgent", "PriorityTier": "9", "MaxTime": "UNLIMITED"}


def cluster(
    config: dict[str, str] | None = None, partition: dict[str, str] | None = None, **facts: Any
) -> ClusterInfo:
    partitions = {"gpu": {**PARTITION, **(partition or {})}, "urgent": URGENT}
    defaults: dict[str, Any] = {
        "node_groups": (NodeGroup(state="idle", count=2, cpus=8, memory_mb=16000, gpus={"": 2}),),
    }
    return ClusterInfo(
        config={**CONFIG, **(config or {})}, partitions=partitions, **{**defaults, **facts}
    )


def test_suitable_cluster_passes_every_check() -> None:
    assert set(levels(slurm_cluster.run_checks(cluster(), JobRequirements())).values()) == {"ok"}


JOB = JobRequirements()
UNSUITABLE: list[tuple[str, str, ClusterInfo, JobRequirements]] = [
    ("partition", "problem", cluster(), JobRequirements(partition="gpus")),
    (
        "partition",
        "problem",
        cluster(partition={"Default": "NO"}, sbatch_error="x"),
        JobRequirements(),
    ),
    ("sbatch --test-only", "problem", cluster(sbatch_error="Invalid account"), JobRequirements()),
    ("time limit", "problem", cluster(), JobRequirements(timeout_min=24 * 60 + 1)),
    (
        "checkpoint before time limit",
        "warning",
        cluster(partition={"GraceTime": "999"}),
        JobRequirements(save_seconds=121),
    ),
    (
        "checkpoint before time limit",
        "warning",
        cluster(),
        JobRequirements(save_seconds=50, signal_delay_s=49),
    ),
    (
        "requested GPUs",
        "warning",
        cluster(),
        JobRequirements(gpu_mismatch="8 GPUs a node are asked for"),
    ),
    ("array limit", "warning", cluster({"MaxArraySize": "8"}), JobRequirements(num_jobs=9)),
    ("array limit", "warning", cluster({"MaxArraySize": "0"}), JobRequirements(num_jobs=2)),
    ("job limit", "warning", cluster({"MaxJobCount": "10"}), JobRequirements(num_jobs=10)),
    ("job limit", "warning", cluster(max_submit_jobs=3), JobRequirements(num_jobs=3)),
    ("requeue", "warning", cluster({"JobRequeue": "0"}), JobRequirements()),
    ("preemption", "warning", cluster(partition={"GraceTime": "0"}), JobRequirements()),
    ("preemption", "warning", cluster(), JobRequirements(save_seconds=90)),
    ("preemption", "warning", cluster(partition={"PreemptMode": "CANCEL"}), JobRequirements()),
    (
        "preemption",
        "warning",
        cluster(partition={"PreemptMode": "GANG,SUSPEND"}),
        JobRequirements(),
    ),
    (
        "preemption",
        "warning",
        cluster({"PreemptType": "preempt/qos", "PreemptMode": "CANCEL"}),
        JobRequirements(),
    ),
    ("job records", "warning", cluster({"MinJobAge": "2 sec"}), JobRequirements()),
]


@pytest.mark.parametrize(("check", "level", "cluster_info", "requirements"), UNSUITABLE)
def test_each_unsuitable_setting_fails_one_check(
    check: str, level: str, cluster_info: ClusterInfo, requirements: JobRequirements
) -> None:
    diagnostics = slurm_cluster.run_checks(cluster_info, requirements)
    assert {d.check: d.level for d in diagnostics if d.level != "ok"} == {check: level}
    assert all(d.fix for d in diagnostics if d.level != "ok")


@pytest.mark.parametrize(
    "cluster_info",
    [
        cluster({"PreemptType": "preempt/none"}, {"GraceTime": "0"}),
        cluster(partition={"PreemptMode": "OFF", "GraceTime": "0"}),
        cluster(partition={"PriorityTier": "9", "GraceTime": "0"}),
    ],
)
def test_no_warning_without_preemption(cluster_info: ClusterInfo) -> None:
    assert levels(slurm_cluster.run_checks(cluster_info, JobRequirements()))["preemption"] == "ok"


def test_what_sbatch_says_is_left_out_if_another_problem_explains_it() -> None:
    diagnostics = slurm_cluster.run_checks(
        cluster(sbatch_error="Requested node configuration is not available"),
        JobRequirements(sbatch_options=("--gpus-per-node=3",)),
    )
    assert {d.check for d in diagnostics if d.level != "ok"} == {"node size"}


def test_a_cluster_may_choose_the_partition_itself() -> None:
    """By a plug-in of the site; sbatch then accepts a job without one."""
    diagnostics = slurm_cluster.run_checks(cluster(partition={"Default": "NO"}), JobRequirements())
    assert set(levels(diagnostics).values()) == {"ok"}


def test_exported_options_are_named() -> None:
    variables = SbatchVariables(
        applied={"SBATCH_PARTITION": "urgent"}, overridden={"SBATCH_TIMELIMIT": "5"}
    )
    diagnostics = slurm_cluster.run_checks(cluster(), JobRequirements(sbatch_variables=variables))
    (environment,) = [d for d in diagnostics if d.check == "environment"]
    assert "SBATCH_PARTITION=urgent" in environment.message
    assert "SBATCH_TIMELIMIT=5" in environment.message
    (partition,) = [d.message for d in diagnostics if d.check == "partition"]
    assert partition == "urgent"


def test_missing_sbatch_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    (diagnostic,) = slurm_cluster.check_cluster(JobRequirements())
    assert (diagnostic.level, "launcher=local" in diagnostic.fix) == ("problem", True)
