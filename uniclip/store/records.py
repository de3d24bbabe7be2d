"""The typed record of every file in the store that is JSON: of runs, then of sweeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from uniclip.config.schema import RUN_ONLY
from uniclip.store.run_status import EndReason

ExitKind = Literal[
    "trained", "diverged", "evaluated", "failed", "interrupted", "paused", "superseded"
]
"""How an attempt ended, as its exit record states it."""

# ---- records of a run ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ClaimRecord:
    """Who holds an attempt: enough to prove later that it is gone."""

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
    """The class within which bits are promised (`uniclip.numerics`)."""
    time: float
    """Seconds since the epoch."""
    job_id: str | None = None
    """Slurm job id."""
    restart_count: int = 0
    """Slurm restart count."""
    cluster: str | None = None
    """Slurm cluster: its word counts for this job only there."""
    previous_end_kind: ExitKind | None = None
    """Exit kind of the attempt before it; None if that one left no exit record."""
    previous_end_reason: EndReason | None = None
    """Why the attempt before it was interrupted, as far as that was known at this claim."""
    forced: bool = False
    """Claimed without proof that the attempt before it had ended."""
    machine_id: str = ""
    """What tells the host from others of its name."""
    uid: int | None = None
    """The user, by number: a cluster may hide her jobs from others."""


@dataclass(frozen=True, kw_only=True)
class AttemptEnd:
    """How an attempt ended, by its own word."""

    kind: ExitKind
    time: float
    error: str | None = None
    """The last line of the error, if `kind` is "failed"."""
    reason: EndReason | None = None
    """Why it was interrupted, as far as that is known."""


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The last sign of life of an attempt; it repeats who gave it, and its last word."""

    time: float
    step: int
    total_steps: int
    steps_per_second: float
    """Steps a second."""
    phase: str
    """What it was doing: training, evaluating, ..."""
    claim: ClaimRecord | None = None
    end: AttemptEnd | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The one outcome of a run."""

    kind: Literal["trained", "diverged"]
    step: int
    attempt: int
    training_hash: str
    source_hash: str
    numerics_class: dict[str, Any]
    weights_digest: str | None
    """blake2b of the final weights' file, 32 hex digits; None for a diverged run."""
    best_step: int | None
    """The step of the best validation."""
    cost: dict[str, float]
    """Seconds of training, seconds a step, parameters, checkpoint bytes, peak memory."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number of an evaluation, with what it takes to read it."""

    name: str
    """Such as retrieval.r1 or minimal.side."""
    value: float
    kind: Literal["accuracy", "recall", "map", "gap", "error"]
    """Means are taken within one kind only; gap and error are no scores to maximise."""
    chance: float | None
    num_samples: int
    """Test samples behind the number."""
    report_only: bool = False
    """Shown in reports and never a primary metric: a diagnostic, or a score of few samples."""


@dataclass(frozen=True, kw_only=True)
class DatasetScores:
    """What one data set says of one run under one protocol."""

    dataset: str
    evaluation_hash: str
    """Hash of the protocol."""
    protocol: dict[str, Any]
    weights_digest: str
    """Hash of the weights that were judged."""
    scores: tuple[Score, ...]


# ---- records of a sweep --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Component:
    """A part of a method that can be turned off: declared once."""

    name: str
    label: str
    reason: str
    off_overrides: dict[str, Any]
    """What turning it off changes: typed configuration deltas."""
    manipulation_check: dict[str, Any]
    """What must hold in two steps when it is off (interpreted by `ablations.audit.audit`)."""
    short_label: str = ""
    """A brief label, for "without ..."; else the name."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One configuration of a comparison."""

    name: str
    label: str
    role: Literal["crossed", "outside", "noise"]
    """Part of the crossed design, a baseline from outside it, or the A/A arm."""
    levels: dict[str, bool]
    """Which components are on; those that an arm says nothing of are not named."""
    config_diff: dict[str, Any]
    """How it differs from the base configuration."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A weighted sum of arms whose value is an effect."""

    name: str
    label: str
    kind: Literal["main", "interaction", "difference", "noise"]
    weights: dict[str, float]
    """Weight of each arm; they sum to 0."""
    primary: bool
    """Declared beforehand: in the family that Holm corrects for."""
    component: str | None = None

    @property
    def arms_by_sign(self) -> tuple[list[str], list[str]]:
        """The arms that are added up, and those that are taken off, by the signs of the weights."""
        weights = self.weights.items()
        return [a for a, w in weights if w > 0], [a for a, w in weights if w < 0]


@dataclass(frozen=True, kw_only=True)
class AuditCheck:
    """One check of one arm by the audit."""

    arm: str
    name: str
    passed: bool
    detail: str
    inert: bool = False
    """The component cannot have an effect in this configuration, on or off, or is declared so."""
    component: str | None = None
    """The component whose manipulation check this is."""

    @property
    def failure_message(self) -> str:
        """What is wrong, in one line, where it does not hold."""
        return f"{self.arm}: {self.name} does not hold: {self.detail}"


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """Whether each arm is what it is called; by what code, on what kind of device ("": unsaid)."""

    checks: tuple[AuditCheck, ...]
    training_hash: str = ""
    device_type: str = ""


@dataclass(frozen=True, kw_only=True)
class PrimaryMetric:
    """The one score on which contrasts are judged."""

    dataset: str
    metric: str


@dataclass(frozen=True, kw_only=True)
class PlantedEffect:
    """What must come out where the truth was planted."""

    kind: Literal["helps", "nothing_claimed", "exactly_zero", "at_chance"]
    description: str
    """In words, for the reader."""
    contrast: str | None = None
    """The contrast it speaks of (all but at_chance)."""
    arm: str | None = None
    """The arm it speaks of (at_chance)."""
    metric: str | None = None
    """The score it is judged on; None = the primary one."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One (arm, seed), and the run that it is."""

    arm: str
    seed: int
    run_id: str

    @property
    def name(self) -> str:
        """`<arm>/<seed>`."""
        return f"{self.arm}/{self.seed}"


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """What the user asked for beyond running what is open."""

    retry_attempts: tuple[tuple[str, int], ...] = ()
    """(run id, attempt number) that failed or paused and is to be continued by a new attempt."""
    force_attempts: tuple[tuple[str, int], ...] = ()
    """(run id, attempt number) that the user declared dead without proof."""
    only_runs: tuple[str, ...] = ()
    """The only runs to execute; empty for every run of the plan."""


@dataclass(frozen=True, kw_only=True)
class SubmissionIntent:
    """What a controller is about to submit, written down before the scheduler hears of it."""

    token: str
    """The job's name is uniclip-<token>."""
    kind: Literal["run", "audit", "follow_up"]
    array_tasks: tuple[tuple[str, ...], ...]
    """The runs of each element of the array."""
    last_attempts: dict[str, int]
    """The newest attempt of each run when it was submitted."""
    submitter: ClaimRecord
    follow_up_argv: tuple[str, ...] = ()
    """The command line, for who follows up."""
    retry_policy: RetryPolicy = RetryPolicy()
    """What its jobs retry, beyond the runs that are open."""
    automatic: bool = False
    """Made by a follow-up, not by a person."""
    signal_delay_s: int = 0
    """How long before a time limit the job is to be told."""
    audit_device: str = ""
    """On which arms are proven; "" = the plan's."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What became of an intent."""

    token: str
    job_id: str | None
    """Slurm job id (of an array: its first half); None: nothing of it may run."""
    cluster: str
    time: float
    error: str | None = None
    """Why there is no job."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One point of a search space, as one arm tried it."""

    number: int
    params: dict[str, Any]
    """Key of the configuration -> value."""
    rung_scores: dict[str, float]
    """Rung (0, 1, ...) -> validation score there, the mean over the tuning seeds."""
    completed: bool
    """Whether it was trained to its end; else it was stopped at the last rung of `scores`."""
    steps: int
    """Training steps behind it, all seeds together."""
    n_diverged: int = 0
    """How many of its seeds diverged: each counts as the worst score, 0."""

    @property
    def score(self) -> float:
        """The score at the last rung that it reached."""
        return self.rung_scores[max(self.rung_scores, key=int)]


@dataclass(frozen=True, kw_only=True)
class TuningRound:
    """Trials that were asked for at once, and what came of them."""

    number: int
    trials: dict[str, tuple[Trial, ...]]
    """By arm; as many for each."""


@dataclass(frozen=True, kw_only=True)
class TunedArm:
    """What tuning found for one arm."""

    arm: str
    best_trial: Trial
    """Of the trials that went to their end, the one with the best score; of equals, the first."""
    default_score: float | None
    """Validation score of the default values; None if they were stopped early, or never tried."""
    n_trials: int
    n_pruned: int
    """Trials that were stopped before their end."""
    n_diverged: int
    """Runs that diverged."""
    steps: int
    """Training steps that the arm was given."""
    at_boundary: dict[str, Literal["lower", "upper"]]
    """Keys whose best value lies on an edge of the space: the optimum may lie beyond."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How the arms of a sweep got their hyper-parameters."""

    default_sweep: str
    """The sweep of the same arms with default values."""
    space: str
    pruner: str
    n_trials: int
    """For each arm."""
    seeds: tuple[int, ...]
    """On which the values were chosen."""
    arms: tuple[TunedArm, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a report or a worker needs to know of a sweep."""

    sweep_id: str
    ablation: str
    title: str
    budget: str
    data: str
    design: str
    arms: tuple[Arm, ...]
    reference: str
    components: tuple[Component, ...]
    contrasts: tuple[Contrast, ...]
    primary_metric: PrimaryMetric
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    evaluation_hashes: dict[str, dict[str, str]]
    """Arm -> data set of the benchmark that is present -> evaluation hash."""
    missing_datasets: dict[str, str]
    """Data sets that are not present, and how to get them."""
    base_config: dict[str, Any]
    """The plain base configuration, run-only fields included."""
    missing_probe_data: dict[str, str] = field(default_factory=dict)
    """Data sets whose test part alone is present: what a linear probe lacks, and how to get it."""
    executor: str = "uniclip.cell"
    """Module that knows how to execute a cell."""
    forward_passes: dict[str, dict[str, float]] = field(default_factory=dict)
    """Image and text forwards a sample, by arm: what a comparison costs."""
    comparison_facts: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """What is counted of each arm, in words: what a comparison holds equal, or not; None where
    labels decide it."""
    recipe: str = "ours"
    """Whose optimiser and schedule the arms have."""
    recipe_descriptions: dict[str, str] = field(default_factory=dict)
    """Arm -> its own, in words; empty for ours."""
    planted_effects: tuple[PlantedEffect, ...] = ()
    """Planted truths that `report` checks."""
    skipped: tuple[str, ...] = ()
    """Arms and expectations that this budget does not run, each with its reason."""
    tuning: Tuning | None = None
    """How the arms were tuned; None for arms as they are declared."""

    def get_arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(a for a in self.arms if a.name == name)

    @property
    def caveats(self) -> tuple[str, ...]:
        """What must stand on every table of it: where arms have recipes that differ."""
        if len(set(self.recipe_descriptions.values())) < 2:
            return ()
        caveat = "arms differ in optimiser and schedule too; not a comparison of components"
        return (f"recipe={self.recipe}: {caveat}.",)

    @property
    def plugins(self) -> tuple[str, ...]:
        """The user's modules without which its cells mean nothing."""
        return tuple(self.base_config.get("runtime", {}).get("plugins", ()))

    @property
    def device(self) -> str:
        """The device of its runs, such as "cpu" or "cuda" (`runtime.device`)."""
        return str(self.base_config["runtime"]["device"])

    @property
    def num_threads(self) -> int:
        """Compute threads of each of its runs (`train.num_threads`)."""
        return int(self.base_config["train"]["num_threads"])

    def run_only_values(self, arm: str) -> dict[str, Any]:
        """Return the configuration sections that state how the runs of an arm are executed."""
        values = {**self.base_config, **self.get_arm(arm).config_diff}
        return {name: values[name] for name in RUN_ONLY if name in values}

    def required_evaluations(self) -> dict[str, dict[str, str]]:
        """Run id -> the evaluations that it must have, in the order of the cells."""
        return {c.run_id: self.evaluation_hashes[c.arm] for c in self.cells}
