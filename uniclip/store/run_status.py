"""The status of a run, and the reasons for which an attempt ends."""

from __future__ import annotations

from enum import StrEnum


class RunStatus(StrEnum):
    """The status of a run, derived from its files and from what the scheduler reports."""

    PENDING = "pending"
    """Not started: the run has no attempt."""
    RUNNING = "running"
    """An attempt holds the claim and its process is alive, as far as is known."""
    STALLED = "stalled"
    """The newest heartbeat is old, and the end of the attempt cannot be proven."""
    INTERRUPTED = "interrupted"
    """The last attempt ended without a result; the next one continues from its checkpoint."""
    PAUSED = "paused"
    """Training stopped at `runtime.stop_fraction`, as configured."""
    FAILED = "failed"
    """The last attempt raised an error, or the allowed number of attempts is used up."""
    NEEDS_EVALUATION = "needs_evaluation"
    """Trained; scores of at least one requested data set are missing."""
    OUTDATED = "outdated"
    """Complete, but trained by a different version of the training code."""
    DIVERGED = "diverged"
    """The loss was not finite or exceeded `train.divergence_threshold`; final."""
    UNREADABLE = "unreadable"
    """Its folder belongs to another user and cannot be read, so its status is not known."""
    COMPLETE = "complete"
    """Trained and evaluated on every requested data set that is present."""


class EndReason(StrEnum):
    """Why an attempt was interrupted, in Slurm's words where Slurm has one."""

    PREEMPTED = "preempted"
    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    NODE_FAIL = "node_fail"
    DISK_FULL = "disk_full"
    CANCELLED = "cancelled"
    REQUEUED = "requeued"
    RESTARTED = "restarted"
    DIED = "died"
    """The process is gone and left no exit record."""
    DATA_CHANGED = "data_changed"
    """The data were not those of the plan, so the attempt failed."""
    STOPPED = "stopped"
    """The process was asked to stop and wrote an exit record."""

    @property
    def description(self) -> str:
        """The reason in words, such as "time limit"."""
        return _DESCRIPTIONS[self]


_DESCRIPTIONS = {
    EndReason.PREEMPTED: "preempted",
    EndReason.TIMEOUT: "time limit",
    EndReason.OUT_OF_MEMORY: "out of memory",
    EndReason.NODE_FAIL: "node failure",
    EndReason.DISK_FULL: "disk full",
    EndReason.CANCELLED: "cancelled",
    EndReason.REQUEUED: "requeued",
    EndReason.RESTARTED: "restarted",
    EndReason.DIED: "process ended without an exit record",
    EndReason.DATA_CHANGED: "the data have changed",
    EndReason.STOPPED: "stopped on request",
}
