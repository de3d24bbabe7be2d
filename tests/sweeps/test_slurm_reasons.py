"""What the reasons of queued jobs mean, as squeue of Slurm 22.05 prints them."""

from __future__ import annotations

import re

import pytest

from sweeps.slurm import Job
from sweeps.slurm_reasons import OBSTACLES, find_obstacle

WAITS = """
    None Priority Resources Dependency BeginTime JobArrayTaskLimit Licenses Reservation Cleaning
    Prolog SchedDefer AssocGrpJobsLimit AssocGrpCpuLimit AssocGrpGRES AssocGrpNodeLimit
    AssocMaxJobsLimit AssocMaxSubmitJobLimit QOSGrpJobsLimit QOSGrpGRES QOSGrpCpuLimit
    QOSMaxJobsPerUserLimit QOSMaxCpuPerUserLimit QOSMaxGRESPerUser QOSMaxNodePerUserLimit
    QOSMaxSubmitJobPerUserLimit QOSJobLimit MaxJobsPerAccount MaxGRESPerAccount AssociationJobLimit
    BurstBufferResources
""".split()
NEEDS_A_CHANGE = {
    "PartitionTimeLimit": "launcher.timeout_min",
    "AssocMaxWallDurationPerJobLimit": "launcher.timeout_min",
    "QOSMaxWallDurationPerJobLimit": "launcher.timeout_min",
    "AssociationTimeLimit": "launcher.timeout_min",
    "PartitionNodeLimit": "launcher.nodes",
    "PartitionDown": "launcher.partition",
    "PartitionInactive": "launcher.partition",
    "BadConstraints": "launcher.constraint",
    "MaxMemPerLimit": "launcher.mem_gb",
    "InvalidAccount": "launcher.account",
    "AccountNotAllowed": "launcher.account",
    "InvalidQOS": "launcher.qos",
    "QOSNotAllowed": "launcher.qos",
    "AssocMaxGRESPerJob": "gpus_per_node",
    "AssocMaxNodePerJobLimit": "launcher.nodes",
    "AssocMaxCpuPerJobLimit": "cpus_per_task",
    "AssocMaxMemPerNode": "mem_gb",
    "QOSMaxGRESPerJob": "gpus_per_node",
    "QOSMaxMemoryPerNode": "mem_gb",
    "QOSMinGRES": "gpus_per_node",
    "QOSMinCpuNotSatisfied": "cpus_per_task",
    "AssocGrpCPUMinutesLimit": "launcher.account",
    "AssocGrpGRESMinutes": "launcher.account",
    "QOSGrpBillingMinutes": "launcher.qos",
    "AssocGrpWallLimit": "launcher.account",
    "AssocGrpGRESRunMinutes": "launcher.timeout_min",
    "AssocMaxCpuMinutesPerJobLimit": "launcher.timeout_min",
    "QOSMaxGRESMinutesPerJob": "launcher.timeout_min",
    "ReqNodeNotAvail, Reserved for maintenance": "launcher.timeout_min",
    "ReqNodeNotAvail, UnavailableNodes:0x7f000002": "launcher.partition",
    "ReqNodeNotAvail, May be reserved for other job": "launcher.partition",
    "ReqNodeNotAvail,_Reserved_for_maintenance": "launcher.timeout_min",
    "Job's account not known, so it can't use this partition": "launcher.account",
    "Job's_QOS_not_permitted_to_use_this_partition_(gpu_denies_long": "launcher.qos",
    "DependencyNeverSatisfied": "cancel",
    "JobHeldAdmin": "scontrol release 7",
    "JobHeldUser": "scontrol release 7",
    "job requeued in held state": "scontrol release 7",
    "JobHoldMaxRequeue": "scontrol release 7",
}  # fmt: skip


@pytest.mark.parametrize("reason", WAITS)
def test_reasons_that_pass_are_waited_for(reason: str) -> None:
    assert find_obstacle(reason) is None


@pytest.mark.parametrize(("reason", "change"), NEEDS_A_CHANGE.items())
def test_other_reasons_say_what_to_change(reason: str, change: str) -> None:
    obstacle = find_obstacle(reason)
    assert obstacle is not None
    assert obstacle.blocks
    assert change in obstacle.format_advice("7")
    assert not obstacle.format_advice("7").startswith("wait")


def test_nodes_that_are_busy_or_down_may_be_waited_for() -> None:
    reason = "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority"
    obstacle = find_obstacle(reason)
    assert obstacle is not None
    assert not obstacle.blocks
    assert "sinfo -R" in obstacle.format_advice("7")


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "COMPLETING"])
def test_only_a_job_that_waits_has_an_obstacle(state: str) -> None:
    job = Job(id="7", state=state, restarts=0, node="", name="x", reason="BadConstraints")
    assert (job.obstacle is not None) == (state == "PENDING")


def test_every_key_that_is_named_exists() -> None:
    from sweeps.config.schema import SlurmLauncherConfig

    texts = [f"{obstacle.cause} {obstacle.change}" for _, obstacle in OBSTACLES]
    keys = {key for text in texts for key in re.findall(r"launcher\.(\w+)", text)}
    assert keys <= set(SlurmLauncherConfig.__dataclass_fields__)
