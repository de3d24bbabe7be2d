"""Why Slurm does not start a queued job: reasons that pass, and reasons that need a change.

The names are those of Slurm's `enum job_state_reason` (slurm.h) as squeue prints them, and the
sentences of slurmctld (job_mgr.c, node_scheduler.c) that squeue prints in their stead.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Remedy = Literal["change", "either", "wait", "release"]


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """A reason for which a queued job will not start, or not soon, unless something is changed."""

    cause: str
    """What is wrong, as a clause."""
    change: str
    """What to change: keys of the launcher, or whom to ask."""
    remedy: Remedy = "change"
    """change: it never starts as it is; either: it starts if the cluster changes; wait: it may
    start as jobs end, but need not; release: it is held until somebody releases it."""

    @property
    def blocks(self) -> bool:
        """Whether waiting alone does not help."""
        return self.remedy != "wait"

    def format_advice(self, job_id: str) -> str:
        """Return what the user can do about a job, beginning with a command where there is one."""
        if self.remedy == "release":
            array_id = job_id.split("_")[0]
            return f"{self.change}: scontrol release {array_id}; or cancel, then run ({self.cause})"
        if self.remedy == "either":
            return f"cancel, then run with {self.change}; or wait: {self.cause}"
        if self.remedy == "wait":
            return f"wait; if {self.cause}, cancel, then run with {self.change}"
        return f"cancel, then run with {self.change}: {self.cause}"


_ACCOUNT = "another launcher.account, or launcher.partition"
_QOS = "another launcher.qos, or launcher.partition"
_SMALLER = "fewer launcher.nodes, gpus_per_node, cpus_per_task or less mem_gb, or another qos"
_OTHER_NODES = "another launcher.constraint, gres, mem_gb, cpus_per_task or partition"

OBSTACLES: tuple[tuple[str, Obstacle], ...] = (
    (
        "PartitionTimeLimit|AssociationTimeLimit|QOSTimeLimit|.*MaxWallDurationPerJobLimit",
        Obstacle(
            cause="its time limit is longer than partition, account or QOS allow",
            change="a smaller launcher.timeout_min (cells are checkpointed and continue)",
        ),
    ),
    (
        "PartitionNodeLimit",
        Obstacle(
            cause="the partition has, or allows, too few nodes",
            change="fewer launcher.nodes, or another launcher.partition",
        ),
    ),
    (
        "PartitionConfig|RequiresReservation",
        Obstacle(
            cause="the settings of the partition do not admit this job",
            change="another launcher.partition, or additional_parameters={reservation: <name>}",
        ),
    ),
    (
        "PartitionDown|PartitionInactive",
        Obstacle(
            cause="the partition is down",
            change="another launcher.partition",
            remedy="either",
        ),
    ),
    (
        "BadConstraints",
        Obstacle(
            cause="no node has what the job requests (memory, cores, GPUs or their kind, features)",
            change=_OTHER_NODES,
        ),
    ),
    (
        "MaxMemPerLimit",
        Obstacle(
            cause="more memory is requested than the cluster allows",
            change="a smaller launcher.mem_gb",
        ),
    ),
    (
        "ReqNodeNotAvail.*maintenance",
        Obstacle(
            cause="the nodes are reserved for maintenance before the job would end",
            change="a smaller launcher.timeout_min",
            remedy="either",
        ),
    ),
    (
        "ReqNodeNotAvail|NodeDown|FrontEndDown",
        Obstacle(
            cause="nodes that the job needs are down, drained or reserved: sinfo -R",
            change="another launcher.partition, fewer launcher.nodes or other nodes",
            remedy="either",
        ),
    ),
    (
        "Nodes required for job are DOWN",
        Obstacle(
            cause="sinfo -R lists its nodes",
            change="another launcher.partition or fewer launcher.nodes",
            remedy="wait",
        ),
    ),
    (
        "InvalidAccount|AccountNotAllowed|Job's account not",
        Obstacle(cause="the account may not use this partition", change=_ACCOUNT),
    ),
    (
        "InvalidQOS|QOSNotAllowed|Job's QOS not",
        Obstacle(cause="the QOS may not be used here", change=_QOS),
    ),
    (
        ".*Max[A-Za-z]*Minutes(PerJob(Limit)?)?$",
        Obstacle(
            cause="it requests more resource-minutes than one job may use",
            change="a smaller launcher.timeout_min, or fewer nodes, GPUs or cores",
        ),
    ),
    (
        "(Assoc|QOS)Grp[A-Za-z]*RunMinutes(Limit)?$",
        Obstacle(
            cause="the jobs of your group that run have reserved its resource-minutes",
            change="a smaller launcher.timeout_min, or another launcher.account or qos",
            remedy="either",
        ),
    ),
    (
        "(Assoc|QOS)Grp([A-Za-z]*Minutes(Limit)?|WallLimit)$|QOSUsageThreshold",
        Obstacle(
            cause="the budget of your account or QOS is used up",
            change="another launcher.account or launcher.qos",
        ),
    ),
    (
        "(Assoc|QOS)Max[A-Za-z]*Per(Job|Node)(Limit)?$|QOSMin[A-Za-z]*$|QOSResourceLimit"
        "|AssociationResourceLimit",
        Obstacle(cause="it requests more, or less, than one job may have", change=_SMALLER),
    ),
    (
        "Reservation.*(Deleted|deleted|invalid)|ReservationDeleted",
        Obstacle(
            cause="its reservation no longer exists",
            change="other launcher.additional_parameters",
        ),
    ),
    (
        "DependencyNeverSatisfied",
        Obstacle(
            cause="a job that it waits for can no longer end as required",
            change="the same words",
        ),
    ),
    (
        "BurstBuffer(Operation|StageIn)|InvalidBurstBuffer",
        Obstacle(
            cause="the burst buffer cannot be set up",
            change="other launcher.additional_parameters",
        ),
    ),
    (
        "JobHeldAdmin",
        Obstacle(
            cause="an administrator holds it",
            change="ask the administrators to release it",
            remedy="release",
        ),
    ),
    (
        "JobHeldUser",
        Obstacle(cause="it is held by its user", change="release it", remedy="release"),
    ),
    (
        "JobHoldMaxRequeue|job requeued in held state|launch failed requeued held",
        Obstacle(
            cause="Slurm could not start it and holds it",
            change="release it",
            remedy="release",
        ),
    ),
)
"""Regular expression for the start of a reason -> what it means. Every other reason passes when
other jobs end or time goes by (Priority, Resources, Dependency, QOSMaxJobsPerUserLimit, ...)."""


def find_obstacle(reason: str) -> Obstacle | None:
    """Return what keeps a pending job from starting; None if it only waits for its turn.

    Args:
        reason: what squeue or scontrol prints, such as "PartitionTimeLimit" or "ReqNodeNotAvail,
            Reserved for maintenance"; scontrol prints "_" for " ".
    """
    text = reason.replace("_", " ").strip().strip("()")
    return next((obstacle for pattern, obstacle in OBSTACLES if re.match(pattern, text)), None)
