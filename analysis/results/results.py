"""Everything that a report says, worked out once from what was gathered."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

from analysis import formatting
from analysis.collect import predictions
from analysis.collect.frame import SweepData
from analysis.results import alarms, tuning
from analysis.results.alarms import DataCheck
from analysis.statistics.effects import (
    Effect,
    Observations,
    compute_test_set_se,
    estimate_effect,
    estimate_primary_effects,
    find_tied_for_best,
    holm_adjust,
)
from uniclip.store import AuditCheck, Contrast, Plan, Store

ScoreKey = tuple[str, str]
MAX_NAMES = 3
"""So many contrasts or cells are named in a warning."""
COMPONENT_PARTS = {
    "awareness": ("augmentation_encoder", "image_head"),
    "domain_similarity": ("similarity",),
}
"""The parts of the model whose movement says whether a component was used (journal's `moved`)."""


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An arm that the reference should beat."""

    arm: str
    mean: float
    difference: Effect
    """Reference minus rival on the primary score."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """What the cells showed."""

    sweep_data: SweepData
    observations: dict[ScoreKey, Observations]
    effects: dict[str, Effect]
    """By contrast, on the primary score; Holm over the primary contrasts."""
    other_effects: dict[ScoreKey, dict[str, Effect]]
    """By score and contrast, without correction: exploratory."""
    test_set_se: dict[str, float | None]
    """By contrast: standard error from the test items alone, on the primary score."""
    tied_for_best: dict[ScoreKey, set[str]]
    """By score: the arms that cannot be told from the best, if that says anything."""
    baselines: list[Baseline]
    """What the reference is held against, the best first; differences Holm-corrected over them."""
    audit_checks: tuple[AuditCheck, ...]
    """What the audit found."""
    data_checks: list[DataCheck]
    """What the scores on published data sets were checked for."""
    tuning_comparison: tuning.TuningComparison | None
    """The same arms with default hyper-parameters, where these are tuned."""

    @property
    def plan(self) -> Plan:
        """The sweep's plan."""
        return self.sweep_data.plan

    @property
    def primary_score(self) -> ScoreKey:
        """The score that contrasts are judged on."""
        return self.plan.primary_metric.dataset, self.plan.primary_metric.metric

    def select_contrasts(self, *kinds: str) -> list[Contrast]:
        """The plan's contrasts of these kinds, in order."""
        return [c for c in self.plan.contrasts if c.kind in kinds]

    def compute_mean(self, arm: str, key: ScoreKey | None = None) -> float | None:
        """Mean over the seeds that completed; None without any."""
        values = self.observations[key or self.primary_score].values.get(arm, {})
        return math.fsum(values.values()) / len(values) if values else None

    @property
    def run_by_cell(self) -> dict[tuple[str, int], str]:
        """(arm, seed) -> run id."""
        return {(c.arm, c.seed): c.run_id for c in self.plan.cells}

    def format_heading(self, key: ScoreKey) -> str:
        """The score's name for readers; *: too few samples; its data set if there are several."""
        has_several_datasets = len({dataset for dataset, _ in self.observations}) > 1
        report_only_mark = "*" if self.sweep_data.is_report_only(*key) else ""
        return (
            f"{key[0]}: " * has_several_datasets
            + formatting.format_score_label(key[1])
            + report_only_mark
        )

    def get_arm_label(self, arm: str) -> str:
        """The arm's name for readers."""
        return self.plan.get_arm(arm).label


def analyze(store: Store, sweep_data: SweepData) -> Results:
    """Judge what was gathered."""
    plan = sweep_data.plan
    observations = {key: sweep_data.get_observations(*key) for key in sweep_data.list_score_keys()}
    primary_observations = observations[plan.primary_metric.dataset, plan.primary_metric.metric]
    candidate_arms = [a.name for a in plan.arms if a.role != "noise"]
    maximized_scores = [
        k
        for k in observations
        if sweep_data.get_score_kind(*k) in ("accuracy", "recall", "map")
        and not sweep_data.is_report_only(*k)
    ]
    outcomes = predictions.load_outcomes(
        store, plan, plan.primary_metric.dataset, plan.primary_metric.metric
    )
    return Results(
        sweep_data=sweep_data,
        observations=observations,
        effects=estimate_effects(plan, primary_observations),
        other_effects={
            key: {c.name: estimate_effect(c.weights, o) for c in plan.contrasts}
            for key, o in observations.items()
            if o is not primary_observations
        },
        test_set_se={c.name: compute_test_set_se(c.weights, outcomes) for c in plan.contrasts},
        tied_for_best={
            key: find_tied_for_best(observations[key], candidate_arms) for key in maximized_scores
        },
        baselines=_compare_with_baselines(plan, primary_observations),
        audit_checks=store.get_sweep(plan.sweep_id).read_audit_checks(),
        data_checks=alarms.check_published_scores(store, sweep_data),
        tuning_comparison=tuning.compare_with_default(store, plan, primary_observations),
    )


def estimate_effects(plan: Plan, observations: Observations) -> dict[str, Effect]:
    """Every contrast on one score; the primary ones with Holm's correction over themselves."""
    primary_contrasts = [c for c in plan.contrasts if c.primary]
    adjusted_effects = estimate_primary_effects(
        [c.weights for c in primary_contrasts], observations
    )
    effect_by_contrast = {c.name: e for c, e in zip(primary_contrasts, adjusted_effects)}
    return {
        c.name: effect_by_contrast.get(c.name) or estimate_effect(c.weights, observations)
        for c in plan.contrasts
    }


def compute_knockout_effect(
    sweep_data: SweepData, component: str
) -> tuple[float | None, dict[str, float]]:
    """Of the reference arm, mean over seeds: what switching the component off in the trained model
    adds to the loss (None if nobody measured it), and how far its parts moved, as a share of their
    initial length."""
    history = sweep_data.history
    rows = history[
        (history["phase"] == "knockout") & (history["arm"] == sweep_data.plan.reference)
    ]

    def compute_column_mean(column: str) -> float | None:
        values = rows[column].dropna() if column in rows else []
        return math.fsum(values) / len(values) if len(values) else None

    relative_changes = {
        part: compute_column_mean(f"relative_change.{part}") for part in COMPONENT_PARTS.get(component, ())
    }
    return compute_column_mean(f"knockout_effect.{component}"), {
        k: v for k, v in relative_changes.items() if v is not None
    }


def find_comparability_warnings(results: Results) -> list[str]:
    """A warning for each way in which runs were made that their comparison should not rest on."""
    mixed_contrasts, mixed_cells = find_mixed_numerics(results), find_mixed_training(results)
    warnings = []
    if mixed_contrasts:
        warnings.append(
            f"Arms of different numerics classes are compared: {_format_names(mixed_contrasts)}."
        )
    if mixed_cells:
        warnings.append(
            f"Trained by other code than the rest: {_format_names(mixed_cells)}; outdated=rerun mends it."
        )
    return warnings


def find_mixed_numerics(results: Results) -> list[str]:
    """Contrasts whose arms ran in different numerics classes, at some seed that they share."""
    run_by_cell = results.run_by_cell
    mixed_contrasts = []
    for contrast in results.plan.contrasts:
        for seed in results.effects[contrast.name].seeds:
            numerics_classes = [
                results.sweep_data.numerics_classes[run_by_cell[arm, seed]]
                for arm in contrast.weights
            ]
            if any(c != numerics_classes[0] for c in numerics_classes):
                mixed_contrasts.append(contrast.label)
                break
    return mixed_contrasts


def find_mixed_training(results: Results) -> list[str]:
    """Cells, the default ones beside tuned ones included, that other code trained than the most."""
    run_by_label = {f"{arm}/{seed}": run for (arm, seed), run in results.run_by_cell.items()}
    hash_by_run = dict(results.sweep_data.training_hashes)
    if results.tuning_comparison is not None:
        default_runs = results.tuning_comparison.runs.items()
        run_by_label |= {f"{arm}/{seed} by default": run for (arm, seed), run in default_runs}
        hash_by_run |= results.tuning_comparison.training_hashes
    hash_by_label = {
        cell: hash_by_run[run] for cell, run in run_by_label.items() if run in hash_by_run
    }
    common_hashes = [
        training_hash for training_hash, _ in Counter(hash_by_label.values()).most_common(1)
    ]
    return [cell for cell, label_hash in hash_by_label.items() if label_hash not in common_hashes]


def _format_names(names: list[str]) -> str:
    more_text = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more_text


def _compare_with_baselines(plan: Plan, observations: Observations) -> list[Baseline]:
    """The reference of a crossed design against each arm that has less than it (outside baselines,
    components off); a listed one against the arms that contrasts take off."""
    reference = plan.get_arm(plan.reference)
    negative_arms = {a for c in plan.contrasts for a in c.arms_by_sign[1]}
    baselines = []
    for arm in plan.arms:
        values = observations.values.get(arm.name, {})
        is_baseline = reference.role == "crossed" or arm.name in negative_arms
        if is_baseline and arm.name != reference.name and arm.role != "noise" and values:
            difference = estimate_effect({reference.name: 1.0, arm.name: -1.0}, observations)
            mean = math.fsum(values.values()) / len(values)
            baselines.append(Baseline(arm=arm.name, mean=mean, difference=difference))
    adjusted_p_values = holm_adjust(
        [1.0 if r.difference.p is None else r.difference.p for r in baselines]
    )
    adjusted_baselines = [
        r if r.difference.p is None else replace(r, difference=replace(r.difference, p_adjusted=p))
        for r, p in zip(baselines, adjusted_p_values)
    ]
    return sorted(adjusted_baselines, key=lambda r: -r.mean)
