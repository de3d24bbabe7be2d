"""The records of the jobs that are submitted to Slurm for a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from uniclip.store.run_records import ClaimRecord


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Which attempts to retry, and which runs to execute."""

    retry_attempts: tuple[tuple[str, int], ...] = ()
    """(run id, attempt number) that failed or paused and is to be continued by a new attempt."""
    force_attempts: tuple[tuple[str, int], ...] = ()
    """(run id, attempt number) that the user declared dead without proof."""
    only_runs: tuple[str, ...] = ()
    """The only runs to execute; empty for every run of the plan."""


@dataclass(frozen=True, kw_only=True)
class SubmissionIntent:
    """A submission to Slurm, recorded before `sbatch` is called."""

    token: str
    """The job's name is uniclip-<token>."""
    kind: Literal["run", "audit", "follow_up"]
    array_tasks: tuple[tuple[str, ...], ...]
    """The runs of each task of the job array."""
    last_attempts: dict[str, int]
    """The newest attempt of each run when it was submitted."""
    submitter: ClaimRecord
    follow_up_argv: tuple[str, ...] = ()
    """Command line of the follow-up job."""
    retry_policy: RetryPolicy = RetryPolicy()
    """What its jobs retry."""
    automatic: bool = False
    """Whether a follow-up job made it, not the user."""
    signal_delay_s: int = 0
    """Seconds before the time limit at which the job is signaled."""
    audit_device: str = ""
    """Device of the audit; "" = the plan's."""
    audit_world_size: int | None = None
    """Processes of the audit; None: not recorded."""
    sbatch_variables: dict[str, str] | None = None
    """The `SBATCH_*` variables that the submitter had exported: a follow-up job submits with the
    same ones. None: not recorded."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """The result of a submission intent."""

    token: str
    job_id: str | None
    """Slurm job id (of an array: the part before "_"); None if there is no job."""
    cluster: str
    time: float
    error: str | None = None
    """Why there is no job, if there is none."""
