"""Everything that a report says, worked out once from what was gathered."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

from analysis import formatting
from analysis.collect import predictions
from analysis.collect.frame import Gathered
from analysis.results import alarms, tuning
from analysis.results.alarms import Check
from analysis.statistics.effects import (
    Effect,
    Observed,
    effect,
    family,
    holm,
    indistinguishable,
    item_error,
)
from uniclip.store import Contrast, Finding, Plan, Store

ScoreKey = tuple[str, str]
NAMED = 3
"""So many contrasts or cells are named in a warning."""
PARTS = {
    "awareness": ("augmentation_encoder", "image_head"),
    "domain_similarity": ("similarity",),
}
"""The parts of the model whose movement says whether a component was used (journal's `moved`)."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """An arm that the reference should beat."""

    arm: str
    mean: float
    difference: Effect
    """Reference minus rival on the primary score."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the cells showed."""

    gathered: Gathered
    observed: dict[ScoreKey, Observed]
    effects: dict[str, Effect]
    """By contrast, on the primary score; Holm over the primary contrasts."""
    others: dict[ScoreKey, dict[str, Effect]]
    """By score and contrast, without correction: exploratory."""
    items: dict[str, float | None]
    """By contrast: standard error from the test items alone, on the primary score."""
    best: dict[ScoreKey, set[str]]
    """By score: the arms that cannot be told from the best, if that says anything."""
    rivals: list[Rival]
    """What the reference is held against, the best first; differences Holm-corrected over them."""
    audit: tuple[Finding, ...]
    """What the audit found."""
    checks: list[Check]
    """What the scores on published data sets were checked for."""
    default: tuning.Beside | None
    """The same arms with default hyper-parameters, where these are tuned."""

    @property
    def plan(self) -> Plan:
        """The sweep's plan."""
        return self.gathered.plan

    @property
    def primary(self) -> ScoreKey:
        """The score that contrasts are judged on."""
        return self.plan.primary.dataset, self.plan.primary.score

    def contrasts(self, *kinds: str) -> list[Contrast]:
        """The plan's contrasts of these kinds, in order."""
        return [c for c in self.plan.contrasts if c.kind in kinds]

    def mean(self, arm: str, key: ScoreKey | None = None) -> float | None:
        """Mean over the seeds that completed; None without any."""
        values = self.observed[key or self.primary].values.get(arm, {})
        return math.fsum(values.values()) / len(values) if values else None

    @property
    def run_of(self) -> dict[tuple[str, int], str]:
        """(arm, seed) -> run id."""
        return {(c.arm, c.seed): c.run for c in self.plan.cells}

    def heading(self, key: ScoreKey) -> str:
        """The score's name for readers; *: too few samples; its data set if there are several."""
        several = len({dataset for dataset, _ in self.observed}) > 1
        star = "*" if self.gathered.shown_only(*key) else ""
        return f"{key[0]}: " * several + formatting.score_label(key[1]) + star

    def label(self, arm: str) -> str:
        """The arm's name for readers."""
        return self.plan.arm(arm).label


def find(store: Store, gathered: Gathered) -> Findings:
    """Judge what was gathered."""
    plan = gathered.plan
    observed = {key: gathered.observed(*key) for key in gathered.scores()}
    primary = observed[plan.primary.dataset, plan.primary.score]
    candidates = [a.name for a in plan.arms if a.role != "noise"]
    maximised = [
        k
        for k in observed
        if gathered.kind(*k) in ("accuracy", "recall", "map") and not gathered.shown_only(*k)
    ]
    outcomes = predictions.outcomes(store, plan, plan.primary.dataset, plan.primary.score)
    return Findings(
        gathered=gathered,
        observed=observed,
        effects=judge(plan, primary),
        others={
            key: {c.name: effect(c.weights, o) for c in plan.contrasts}
            for key, o in observed.items()
            if o is not primary
        },
        items={c.name: item_error(c.weights, outcomes) for c in plan.contrasts},
        best={key: indistinguishable(observed[key], candidates) for key in maximised},
        rivals=_rivals(plan, primary),
        audit=store.sweep(plan.sweep).findings(),
        checks=alarms.checks(store, gathered),
        default=tuning.beside(store, plan, primary),
    )


def judge(plan: Plan, observed: Observed) -> dict[str, Effect]:
    """Every contrast on one score; the primary ones with Holm's correction over themselves."""
    declared = [c for c in plan.contrasts if c.primary]
    corrected = family([c.weights for c in declared], observed)
    found = {c.name: e for c, e in zip(declared, corrected)}
    return {c.name: found.get(c.name) or effect(c.weights, observed) for c in plan.contrasts}


def engagement(gathered: Gathered, component: str) -> tuple[float | None, dict[str, float]]:
    """Of the reference arm, mean over seeds: what switching the component off in the trained model
    adds to the loss (None if nobody measured it), and how far its parts moved, as a share of their
    initial length."""
    history = gathered.history
    rows = history[(history["phase"] == "engagement") & (history["arm"] == gathered.plan.reference)]

    def mean(column: str) -> float | None:
        values = rows[column].dropna() if column in rows else []
        return math.fsum(values) / len(values) if len(values) else None

    moved = {part: mean(f"moved.{part}") for part in PARTS.get(component, ())}
    return mean(f"engagement.{component}"), {k: v for k, v in moved.items() if v is not None}


def unlike(findings: Findings) -> list[str]:
    """A warning for each way in which runs were made that their comparison should not rest on."""
    classes, code = mixed_numerics(findings), mixed_training(findings)
    said = []
    if classes:
        said.append(f"Arms of different numerics classes are compared: {_few(classes)}.")
    if code:
        said.append(f"Trained by other code than the rest: {_few(code)}; stale=rerun mends it.")
    return said


def mixed_numerics(findings: Findings) -> list[str]:
    """Contrasts whose arms ran in different numerics classes, at some seed that they share."""
    runs = findings.run_of
    mixed = []
    for contrast in findings.plan.contrasts:
        for seed in findings.effects[contrast.name].seeds:
            classes = [findings.gathered.numerics[runs[arm, seed]] for arm in contrast.weights]
            if any(c != classes[0] for c in classes):
                mixed.append(contrast.label)
                break
    return mixed


def mixed_training(findings: Findings) -> list[str]:
    """Cells, the default ones beside tuned ones included, that other code trained than the most."""
    cells = {f"{arm}/{seed}": run for (arm, seed), run in findings.run_of.items()}
    code = dict(findings.gathered.training)
    if findings.default is not None:
        beside = findings.default.runs.items()
        cells |= {f"{arm}/{seed} by default": run for (arm, seed), run in beside}
        code |= findings.default.training
    trained = {cell: code[run] for cell, run in cells.items() if run in code}
    most = [usual for usual, _ in Counter(trained.values()).most_common(1)]
    return [cell for cell, by in trained.items() if by not in most]


def _few(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _rivals(plan: Plan, observed: Observed) -> list[Rival]:
    """The reference of a crossed design against each arm that has less than it (outside baselines,
    components off); a listed one against the arms that contrasts take off."""
    full = plan.arm(plan.reference)
    taken_off = {a for c in plan.contrasts for a in c.sides[1]}
    found = []
    for arm in plan.arms:
        values = observed.values.get(arm.name, {})
        held = full.role == "crossed" or arm.name in taken_off
        if held and arm.name != full.name and arm.role != "noise" and values:
            against = effect({full.name: 1.0, arm.name: -1.0}, observed)
            mean = math.fsum(values.values()) / len(values)
            found.append(Rival(arm=arm.name, mean=mean, difference=against))
    adjusted = holm([1.0 if r.difference.p is None else r.difference.p for r in found])
    corrected = [
        r if r.difference.p is None else replace(r, difference=replace(r.difference, holm=p))
        for r, p in zip(found, adjusted)
    ]
    return sorted(corrected, key=lambda r: -r.mean)
