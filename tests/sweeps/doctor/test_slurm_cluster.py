"""Checks of a cluster, by what Slurm reports."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sweeps.doctor import slurm_cluster
from sweeps.doctor.diagnostic import Diagnostic
from sweeps.doctor.slurm_cluster import ClusterInfo, JobRequirements


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
PARTITION = {"PartitionName": "gpu", "Default": "YES", "MaxTime": "1-00:00:00", "PriorityTier": "1",
        "PreemptMode": "REQUEUE", "GraceTime": "60"}  # fmt: skip
URGENT = {"PartitionName": "urgent", "PriorityTier": "9", "MaxTime": "UNLIMITED"}


def cluster(
    config: dict[str, str] | None = None, partition: dict[str, str] | None = None, **facts: Any
) -> ClusterInfo:
    partitions = {"gpu": {**PARTITION, **(partition or {})}, "urgent": URGENT}
    defaults: dict[str, Any] = {
        "nodes_by_state": {"idle": 2},
        "max_submit_jobs": None,
        "sbatch_error": None,
    }
    return ClusterInfo(
        config={**CONFIG, **(config or {})}, partitions=partitions, **{**defaults, **facts}
    )


def test_suitable_cluster_passes_every_check() -> None:
    assert set(levels(slurm_cluster.run_checks(cluster(), JobRequirements())).values()) == {"ok"}


UNSUITABLE: list[tuple[str, str, ClusterInfo, JobRequirements]] = [
    ("partition", "problem", cluster(), JobRequirements(partition="gpus")),
    ("partition", "problem", cluster(partition={"Default": "NO"}), JobRequirements()),
    ("nodes", "problem", cluster(nodes_by_state={"idle": 1, "down*": 3}), JobRequirements(nodes=2)),
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


def test_output_of_slurm_is_parsed() -> None:
    assert [slurm_cluster.parse_leading_int(t) for t in ("300 sec", "8", None, "n/a")] == [
        300,
        8,
        0,
        0,
    ]
    limits = ["UNLIMITED", "1-12:00:00", "00:30:00", "90:00", "00:00:30"]
    assert list(map(slurm_cluster.parse_time_limit_minutes, limits)) == [
        math.inf,
        2160,
        30,
        90,
        0.5,
    ]
    assert slurm_cluster.parse_smallest_limit(["", "40", "7"]) == 7
    assert slurm_cluster.parse_smallest_limit(["", ""]) is None
    output = "sbatch: error: Batch job submission failed: Invalid account\n"
    assert slurm_cluster.extract_last_line(output) == "Batch job submission failed: Invalid account"


def test_missing_sbatch_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    (diagnostic,) = slurm_cluster.check_cluster(JobRequirements())
    assert (diagnostic.level, "launcher=local" in diagnostic.fix) == ("problem", True)
