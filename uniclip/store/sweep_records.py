"""The records of a sweep: its plan, its audit and its tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from uniclip.config.cores import count_requested_cores
from uniclip.config.device import AUTO, detect_device
from uniclip.config.schema import select_run_only
from uniclip.store.adaptive_records import AdaptiveRule
from uniclip.store.design_records import Arm, Component, Contrast, FoldOver, Prediction

IMPORTED = "imported"
"""`Plan.executor` of runs that were made elsewhere: it names no module."""
AUDIT_ERROR_CHECK = "audit error"
"""Name of the failed check that stands for an audit that raised an error."""


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
        """One line that describes the failure of the check."""
        if self.name == AUDIT_ERROR_CHECK:
            return f"it ended with an error: {self.detail}"
        return f"{self.arm}: {self.name} does not hold: {self.detail}"


@dataclass(frozen=True, kw_only=True)
class AuditRecord:
    """The audit of a sweep: the checks of all arms, and for which code and device they hold."""

    checks: tuple[AuditCheck, ...]
    training_hash: str = ""
    device_type: str = ""
    world_size: int | None = None
    """Processes that made it together; None: not recorded."""


@dataclass(frozen=True, kw_only=True)
class PrimaryMetric:
    """The score on which contrasts are estimated."""

    dataset: str
    metric: str


@dataclass(frozen=True, kw_only=True)
class Look:
    """A number of seeds at which verdicts are made."""

    num_seeds: int
    """It is reached when the runs of so many seeds, from the ablation's first one on, have
    finished."""
    level: float
    """Probability of a false verdict that is spent at this look."""
    is_joint: bool = False
    """Whether the levels of all looks add up to more than 5 %, and the probability that any of
    these tests errs is 5 % nevertheless (`analysis.statistics.sequential_t`)."""


DEFAULT_LOOKS = (
    Look(num_seeds=5, level=0.02),
    Look(num_seeds=8, level=0.015),
    Look(num_seeds=12, level=0.015),
)
"""The looks of an ablation that declares none; their levels add up to 0.05."""


@dataclass(frozen=True, kw_only=True)
class Margin:
    """The largest effect on a score, either way, that counts as practically nothing."""

    dataset: str
    metric: str
    value: float
    """In the unit of the score: 0.01 is one percentage point of an accuracy."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class PlantedEffect:
    """A result that is known in advance, because the data were generated so."""

    kind: Literal[
        "positive_effect",
        "practically_nothing",
        "no_significant_effect",
        "exactly_zero",
        "at_chance",
    ]
    """no_significant_effect: only in plans from before there were margins."""
    description: str
    """Description for the report."""
    contrast: str | None = None
    """The contrast it refers to (all kinds but at_chance)."""
    arm: str | None = None
    """The arm it refers to (at_chance)."""
    metric: str | None = None
    """The score it refers to; None = the primary metric."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One (arm, seed) of a sweep, and its run."""

    arm: str
    seed: int
    run_id: str

    @property
    def name(self) -> str:
        """`<arm>/<seed>`."""
        return f"{self.arm}/{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One point of a search space, evaluated for one arm."""

    number: int
    params: dict[str, Any]
    """Configuration key -> value."""
    rung_scores: dict[str, float]
    """Rung (0, 1, ...) -> validation score, the mean over the tuning seeds."""
    completed: bool
    """Whether it was trained to the end; else it was pruned at the last rung of `rung_scores`."""
    steps: int
    """Training steps, summed over seeds."""
    n_diverged: int = 0
    """Number of seeds that diverged; each counts as the worst score, 0."""

    @property
    def score(self) -> float:
        """The score at the last rung."""
        return self.rung_scores[max(self.rung_scores, key=int)]


@dataclass(frozen=True, kw_only=True)
class TuningRound:
    """Trials that were run in parallel, and their scores."""

    number: int
    trials: dict[str, tuple[Trial, ...]]
    """Arm -> trials; equally many for each."""


@dataclass(frozen=True, kw_only=True)
class TunedArm:
    """The result of tuning one arm."""

    arm: str
    best_trial: Trial
    """The completed trial with the best score; of equal scores, the first."""
    default_score: float | None
    """Validation score of the default values; None if they were pruned or not tried."""
    n_trials: int
    n_pruned: int
    """Trials that were pruned."""
    n_diverged: int
    """Runs that diverged."""
    steps: int
    """Training steps spent on the arm."""
    at_boundary: dict[str, Literal["lower", "upper"]]
    """Keys whose best value is a bound of the search space: the optimum may lie outside."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How the hyper-parameters of the arms of a sweep were tuned."""

    default_sweep: str
    """The sweep of the same arms with default values."""
    space: str
    pruner: str
    n_trials: int
    """Trials of each arm."""
    seeds: tuple[int, ...]
    """Seeds on which the values were selected."""
    arms: tuple[TunedArm, ...]
    study: str = ""
    """Name of the study's folder; empty in plans from before this field."""
    sampler: str = "tpe"
    dimensions: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Key -> its values: low, high, log, step, choices and when (`sweeps.tuning.search_space`).
    Empty in plans from before this field."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that workers and the report need of a sweep."""

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
    """Data set that is not present -> how to get it."""
    base_config: dict[str, Any]
    """The base configuration as plain values, run-only fields included."""
    missing_probe_data: dict[str, str] = field(default_factory=dict)
    """Data set without the training data of a linear probe -> how to get them."""
    executor: str = "uniclip.cell"
    """Module that executes cells (see `uniclip.cell`)."""
    forward_passes: dict[str, dict[str, float]] = field(default_factory=dict)
    """Arm -> forward passes per sample, by encoder."""
    comparison_facts: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Arm -> quantity -> value: what a comparison holds equal, or not; None if it depends on
    labels."""
    recipe: str = "default"
    """Choice of optimizer and schedule."""
    recipe_descriptions: dict[str, str] = field(default_factory=dict)
    """Arm -> description of its recipe; empty for the default recipe."""
    planted_effects: tuple[PlantedEffect, ...] = ()
    """Known results that the report checks."""
    predictions: tuple[Prediction, ...] = ()
    """What was expected of contrasts before the first run; the report grades each."""
    predictions_date: str = ""
    """UTC date on which the predictions were first planned, as 2026-01-31; empty without any."""
    predictions_digest: str = ""
    """Hash of the predictions together with the arms, contrasts and rules of verdicts."""
    orders: tuple[tuple[str, ...], ...] = ()
    """Orders in which a design adds its components, one after another."""
    fold_overs: tuple[FoldOver, ...] = ()
    """Further arms that would separate effects which the design cannot tell apart."""
    skipped: tuple[str, ...] = ()
    """Arms and planted effects that this budget leaves out, each with its reason."""
    tuning: Tuning | None = None
    """How the arms were tuned; None for arms with declared values."""
    co_primary_metric: PrimaryMetric | None = None
    """A more sensitive score on which the contrasts are tested, too; None if there is none."""
    overrides: tuple[str, ...] = ()
    """The `key=value` words of the command that made it, without seeds and store; paths are
    absolute. Empty in plans from before this field."""
    first_seed: int = 0
    """First seed of a number of seeds, such as `seeds=3`."""
    data_notes: tuple[str, ...] = ()
    """What the user should know of the training data, a sentence each: how the table was read,
    rows that are skipped, captions that are cut."""
    looks: tuple[Look, ...] = DEFAULT_LOOKS
    """The numbers of seeds at which verdicts are made, increasing."""
    margins: tuple[Margin, ...] = ()
    """What counts as practically nothing, for each score that has a margin."""
    rule_changes: tuple[str, ...] = ()
    """Sentences on looks, margins, primary scores or primary contrasts that were changed after runs
    had started."""
    provenance_notes: tuple[str, ...] = ()
    """Sentences on what the run ids do not cover, and on results that were not audited."""
    command_checks: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)
    """Arm -> what short runs of its command must show: the metrics and scores that differ from
    those of the reference, and those that are equal."""
    launch_device: str | None = None
    """What `runtime.device` came to for the launcher where the sweep was planned. The cells do not
    read it: with "auto" each takes the device of the machine that executes it."""
    adaptive: AdaptiveRule | None = None
    """How its cells are bought (`seeds=adaptive`); None if its seeds are fixed."""

    @property
    def primary_metrics(self) -> tuple[PrimaryMetric, ...]:
        """The primary metric, then the co-primary one if there is one."""
        return tuple(m for m in (self.primary_metric, self.co_primary_metric) if m is not None)

    def get_arm(self, name: str) -> Arm:
        """Return the arm of that name."""
        return next(a for a in self.arms if a.name == name)

    @property
    def looks_text(self) -> str:
        """The schedule of verdicts, such as "5 (level 0.02), 8 (0.015) and 12 (0.015) seeds"."""
        first, last = self.looks[0], self.looks[-1]
        if first.is_joint:
            levels_text = f"levels {first.level:.3f} to {last.level:.3f}"
            return f"every seed from {first.num_seeds} to {last.num_seeds} ({levels_text})"
        levels = [f"{look.num_seeds} (level {look.level:g})" for look in self.looks[:1]]
        texts = [*levels, *(f"{look.num_seeds} ({look.level:g})" for look in self.looks[1:])]
        return f"{' and '.join(filter(None, [', '.join(texts[:-1]), texts[-1]]))} seeds"

    def get_margin(self, dataset: str, metric: str) -> Margin | None:
        """Return the margin of a score; None if none is declared."""
        return next((m for m in self.margins if (m.dataset, m.metric) == (dataset, metric)), None)

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences that every table shows: what its numbers are not, and changed rules."""
        return (
            *self.provenance_notes,
            *self.recipe_caveats,
            *self.split_caveats,
            *self.precision_caveats,
            *self.rule_changes,
        )

    @property
    def recipe_caveats(self) -> tuple[str, ...]:
        """A sentence if arms differ in their recipes."""
        caveat = "arms differ in optimiser and schedule too; not a comparison of components"
        differs = len(set(self.recipe_descriptions.values())) > 1
        return (f"recipe={self.recipe}: {caveat}.",) if differs else ()

    @property
    def split_caveats(self) -> tuple[str, ...]:
        """A sentence if scores are not of the test split."""
        runtime = self.run_only_values(self.arms[0].name).get("runtime", {})
        caveat = "Scores are of the validation split (runtime.evaluation_split), not of the test."
        return (caveat,) if runtime.get("evaluation_split") == "validation" else ()

    @property
    def precision_caveats(self) -> tuple[str, ...]:
        """A sentence if scores are of embeddings that are not computed in float32."""
        runtime = self.run_only_values(self.arms[0].name).get("runtime", {})
        caveat = "Scores are of embeddings in bfloat16 (runtime.evaluation_precision=bf16)."
        return (caveat,) if runtime.get("evaluation_precision") == "bf16" else ()

    @property
    def plugins(self) -> tuple[str, ...]:
        """Plug-ins that its cells need."""
        return tuple(self.base_config.get("runtime", {}).get("plugins", ()))

    @property
    def is_scored_by_program(self) -> bool:
        """Whether its scores are from another program, not from an evaluation of this package."""
        return self.executor != Plan.executor

    @property
    def device(self) -> str:
        """The device of its runs, such as "cpu" or "cuda", as far as the launcher knows."""
        device = self.launch_device or str(self.base_config["runtime"]["device"])
        return detect_device() if device == AUTO else device

    @property
    def num_threads(self) -> int:
        """Compute threads of each of its runs (`train.num_threads`)."""
        return int(self.base_config["train"]["num_threads"])

    @property
    def num_cores(self) -> int:
        """Cores of each process of its runs: for compute threads and data workers."""
        num_workers = self.base_config["runtime"].get("num_workers")
        return count_requested_cores(self.num_threads, num_workers, self.device)

    def run_only_values(self, arm: str) -> dict[str, Any]:
        """Return what states how the runs of an arm are executed, and where their data lie."""
        return select_run_only(self.base_config, self.get_arm(arm).config_diff)

    def required_evaluations(self) -> dict[str, dict[str, str]]:
        """Run id -> the evaluations that it must have, in the order of the cells."""
        return {c.run_id: self.evaluation_hashes[c.arm] for c in self.cells}
