"""The records of a run: claims, heartbeats, exit records, outcomes and scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from uniclip.store.run_status import EndReason
from uniclip.store.score_kinds import ScoreKind

ExitKind = Literal[
    "trained", "diverged", "evaluated", "failed", "interrupted", "paused", "superseded"
]
"""How an attempt ended, as its exit record states it."""


@dataclass(frozen=True, kw_only=True)
class ClaimRecord:
    """The process that executes an attempt, identified so that its end can be proven later."""

    host: str
    boot_id: str
    pid: int
    start_ticks: int
    """Start time of the process, in clock ticks since boot."""
    source_hash: str
    """Source hash of the code that runs."""
    training_hash: str
    """Training hash of the code that runs."""
    numerics_class: dict[str, Any]
    """Class of machines and settings that give the same bits (`uniclip.numerics`)."""
    time: float
    """Seconds since the epoch."""
    job_id: str | None = None
    """Slurm job id."""
    restart_count: int = 0
    """Slurm restart count."""
    cluster: str | None = None
    """Slurm cluster of the job; only that cluster can report its end."""
    previous_end_kind: ExitKind | None = None
    """Exit kind of the attempt before it; None if that one left no exit record."""
    previous_end_reason: EndReason | None = None
    """Why the attempt before it was interrupted, as far as that was known at this claim."""
    forced: bool = False
    """Claimed without proof that the attempt before it had ended."""
    machine_id: str = ""
    """Distinguishes hosts of the same name."""
    uid: int | None = None
    """User id: a cluster may hide a user's jobs from others."""
    commit: str = ""
    """Commit of the checkout that the code is from; "" where it is not known."""
    versions: dict[str, str] = field(default_factory=dict)
    """Library -> version, Python and this package among them."""
    environment: str = ""
    """Digest of the process's `EnvironmentRecord`; "" in claims from before there was one."""
    command: tuple[str, ...] = ()
    """Command line of the process."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentRecord:
    """The software and hardware of a process, as far as they may explain what it computed."""

    python: str
    """Version and implementation of Python."""
    packages: dict[str, str]
    """Every installed distribution -> its version, sorted."""
    commit: str
    """Commit of the checkout that the code is from; "" where it is not known."""
    diff: str
    """What git shows as changed since the commit, with the names of untracked files; "" where
    nothing was changed or there is no git."""
    system: str
    """Kernel, its release and the C library."""
    machine: str
    """Architecture, such as x86_64."""
    cpu: str
    """Model of the CPU; "" where it is not known."""
    num_cores: int
    """Cores of the machine."""
    memory_gb: float
    """Memory of the machine in GB (10^9 bytes), rounded."""
    gpu_driver: str
    """Version of the GPU driver; "" without one."""
    container: str
    """Kind of container that the process is in, such as docker; "" for none that is known."""
    scheduler: str
    """slurm, or "" outside a job."""


@dataclass(frozen=True, kw_only=True)
class AttemptEnd:
    """The exit record of an attempt."""

    kind: ExitKind
    time: float
    error: str | None = None
    """The last line of the error, if `kind` is "failed"."""
    reason: EndReason | None = None
    """Why it was interrupted or failed, as far as that is known."""


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The last heartbeat of an attempt; it repeats the claim and, at the end, the exit record."""

    time: float
    step: int
    total_steps: int
    steps_per_second: float
    """Training steps per second."""
    phase: str
    """Current activity: training, evaluating, ..."""
    claim: ClaimRecord | None = None
    end: AttemptEnd | None = None
    unreadable_images: int = 0
    """Training images that were replaced so far since they cannot be read."""
    skipped_samples: int = 0
    """Samples of the data that are left out since they cannot be used."""
    data_wait: float | None = None
    """Share of the time of the last training steps spent waiting for batches; None: no steps."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a run, written once."""

    kind: Literal["trained", "diverged"]
    step: int
    attempt: int
    training_hash: str
    """Hash of the training code; "" if another program trained the run."""
    source_hash: str
    numerics_class: dict[str, Any]
    weights_digest: str | None
    """blake2b digest of the file of final weights, 32 hex digits; None for a diverged run."""
    best_step: int | None
    """The step of the best validation."""
    cost: dict[str, float]
    """Seconds of training and per step, parameters, bytes of a checkpoint and peak memory."""
    unreadable_images: int = 0
    """Training images that were replaced since they cannot be read."""
    data_content: dict[str, str] = field(default_factory=dict)
    """What the fingerprint of the training data leaves out, as far as it was recorded: key ->
    digest (`uniclip.data.identify_content`)."""
    skipped_samples: int = 0
    """Samples of the data that were left out since they cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One score of an evaluation, with what is needed to interpret it."""

    name: str
    """Such as retrieval.r1 or minimal.side."""
    value: float
    kind: ScoreKind
    """What it measures: says which direction is better (`score_kinds`)."""
    chance: float | None
    num_samples: int
    """Number of test samples."""
    report_only: bool = False
    """Shown in reports and never a primary metric: a diagnostic, or a score of few samples."""


@dataclass(frozen=True, kw_only=True)
class DatasetScores:
    """The scores of one run on one data set under one protocol."""

    dataset: str
    evaluation_hash: str
    """Hash of the protocol."""
    protocol: dict[str, Any]
    weights_digest: str
    """Digest of the evaluated weights."""
    scores: tuple[Score, ...]
