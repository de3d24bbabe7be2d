"""All results of a sweep, computed once from its collected data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from analysis import formatting
from analysis.collect import literature
from analysis.collect.frame import SweepData
from analysis.collect.predictions import ItemOutcomes, describe_item_groups, load_outcomes
from analysis.formatting import NumberFormat, choose_score_format, make_number_format
from analysis.results import alarms, tuning, tuning_trials
from analysis.results.alarms import DataCheck
from analysis.results.baselines import Baseline, list_baselines
from analysis.results.contamination import Contamination, collect_contamination
from analysis.results.item_squares import ItemSquares, collect_item_squares
from analysis.results.sign_flips import SignFlip, find_sign_flips
from analysis.results.variance import analyze_variance, find_noise_arms
from analysis.statistics.effects import Effect, Observations, estimate_effect
from analysis.statistics.item_clusters import ItemUncertainty, estimate_item_uncertainty
from analysis.statistics.multiplicity import BestComparison, compare_with_best
from analysis.statistics.variance_components import VarianceComponent
from analysis.statistics.verdicts import (
    PrimaryScore,
    ScoreKey,
    Verdict,
    collect_declared_comparisons,
    estimate_contrasts,
    judge,
)
from uniclip.commands.definition import COMMAND_DATASET
from uniclip.commands.definition import EXECUTOR as COMMAND_EXECUTOR
from uniclip.store import AuditCheck, Contrast, Plan, Store, get_score_kind_traits
from uniclip.store.numerics_classes import are_one_class

MAX_NAMES = 3
"""Largest number of contrasts or cells that a warning names."""
COMPONENT_PARTS = {
    "awareness": ("augmentation_encoder", "image_head"),
    "domain_similarity": ("similarity",),
}
"""Component -> parts of the model whose relative change tells whether it was used."""


@dataclass(frozen=True, kw_only=True)
class KnockoutEffect:
    """Effect of switching a component off in the trained reference arm, mean over seeds."""

    loss_change: float | None
    """Increase of the validation loss; None if it was not measured."""
    relative_changes: dict[str, float]
    """Part of the model -> change of its parameters in training, relative to their initial norm."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Results of a sweep."""

    sweep_data: SweepData
    observations: dict[ScoreKey, Observations]
    primary_effects: dict[ScoreKey, dict[str, Effect]]
    """Primary score -> contrast -> effect; the primary contrasts on all of these scores are one
    family of Holm's correction."""
    other_effects: dict[ScoreKey, dict[str, Effect]]
    """Other score -> contrast -> effect, uncorrected: exploratory."""
    item_uncertainties: dict[ScoreKey, dict[str, ItemUncertainty | None]]
    """Primary score -> contrast -> uncertainty due to the choice of test samples."""
    item_groups: dict[ScoreKey, list[list[str]]]
    """Primary score -> the arms that are scored on the same test items."""
    item_squares: ItemSquares
    """The same for the scores on published data sets, for their means over data sets."""
    best_comparisons: dict[ScoreKey, BestComparison | None]
    """Score by which arms are ranked -> comparison of its best arm with the others."""
    variance_components: dict[ScoreKey, list[VarianceComponent]]
    """Primary score -> its variance in the reference arm by source; empty without both A/A arms."""
    baselines: dict[ScoreKey, list[Baseline]]
    """Primary score -> arms that the reference is compared with, best first."""
    audit_checks: tuple[AuditCheck, ...]
    data_checks: list[DataCheck]
    """Checks of the scores on published data sets and on the user's table."""
    contamination: Contamination
    """Scores and effects without test items whose images are copies of training images."""
    training_data_warnings: list[str]
    """Sentences on training images that could not be read."""
    tuning_comparison: tuning.TuningComparison | None
    """Comparison with the default hyper-parameters, for a tuned sweep."""
    tuning_trials: tuning_trials.TuningTrials | None
    """Trials of the tuning, for a tuned sweep."""

    @property
    def plan(self) -> Plan:
        """The plan of the sweep."""
        return self.sweep_data.plan

    @property
    def primary_score(self) -> ScoreKey:
        """The first score on which the contrasts are tested."""
        return next(iter(self.primary_effects))

    @property
    def effects(self) -> dict[str, Effect]:
        """Contrast -> effect on the first primary score."""
        return self.primary_effects[self.primary_score]

    @cached_property
    def tied_for_best(self) -> dict[ScoreKey, set[str]]:
        """Score -> arms that are not significantly worse than the best; empty if no arm is."""
        return {
            key: comparison.bold_arms if comparison else set()
            for key, comparison in self.best_comparisons.items()
        }

    def get_declared_effects(self, key: ScoreKey) -> dict[tuple[str, str], Effect]:
        """Return (arm, other arm) -> effect, for the pairs that a contrast compares on a score.

        They are the tests behind every statement on two arms; only primary scores have them.
        """
        effects = self.primary_effects.get(key)
        if effects is None:
            return {}
        comparisons = collect_declared_comparisons(self.plan.contrasts, effects)
        return {pair: comparison.effect for pair, comparison in comparisons.items()}

    @property
    def primary_scores(self) -> list[ScoreKey]:
        """The scores on which the contrasts are tested, the first one first."""
        return list(self.primary_effects)

    def get_effects(self, key: ScoreKey | None = None) -> dict[str, Effect]:
        """Return contrast -> effect on a score; on the first primary one by default."""
        if key is None or key in self.primary_effects:
            return self.primary_effects[key or self.primary_score]
        return self.other_effects[key]

    def judge(self, contrast: Contrast, key: ScoreKey | None = None) -> Verdict:
        """Return the verdict on a contrast on a primary score; on the first one by default."""
        return judge(self.get_effects(key)[contrast.name], contrast)

    def judge_all(self, contrast: Contrast) -> dict[str, Verdict]:
        """Return label of a primary score -> verdict on a contrast, for all of them."""
        return {self.format_heading(key): self.judge(contrast, key) for key in self.primary_scores}

    @cached_property
    def sign_flips(self) -> dict[ScoreKey, list[SignFlip]]:
        """Primary score -> effects of components whose sign depends on a setting."""
        return {
            key: list(find_sign_flips(self.plan.contrasts, effects))
            for key, effects in self.primary_effects.items()
        }

    @cached_property
    def run_by_cell(self) -> dict[tuple[str, int], str]:
        """(arm, seed) -> run id."""
        return {(c.arm, c.seed): c.run_id for c in self.plan.cells}

    @cached_property
    def published_datasets(self) -> list[str]:
        """Data sets that a published protocol evaluates, present ones first; of a program those on
        which its checkpoint is evaluated."""
        if self.plan.is_scored_by_program and self.plan.executor != COMMAND_EXECUTOR:
            return []
        names = literature.list_published_datasets(
            self.plan.evaluation_hashes, self.plan.missing_datasets
        )
        return [name for name in names if name != COMMAND_DATASET]

    def select_contrasts(self, *kinds: str) -> list[Contrast]:
        """Return the plan's contrasts of these kinds, in order."""
        return [c for c in self.plan.contrasts if c.kind in kinds]

    @property
    def primary_contrasts(self) -> list[Contrast]:
        """The plan's primary contrasts, in order."""
        return [c for c in self.plan.contrasts if c.primary]

    def compute_mean(self, arm: str, key: ScoreKey | None = None) -> float | None:
        """Return the mean over the completed seeds; None without any."""
        return self.observations[key or self.primary_score].compute_mean(arm)

    @cached_property
    def _score_formats(self) -> dict[ScoreKey, NumberFormat]:
        arms = [a.name for a in self.plan.arms]
        return {
            key: choose_score_format(self.sweep_data.get_score_kind(*key), observations, arms)
            for key, observations in self.observations.items()
        }

    def get_score_format(self, key: ScoreKey | None = None) -> NumberFormat:
        """Return how the values of a score are shown; of the primary one by default."""
        return self._score_formats[key or self.primary_score]

    def get_effect_format(self, effect: Effect, key: ScoreKey | None = None) -> NumberFormat:
        """Return how an effect on a score is shown; on the primary one by default."""
        kind = self.sweep_data.get_score_kind(*(key or self.primary_score))
        return make_number_format(kind, effect.standard_error)

    def format_heading(self, key: ScoreKey, unit: Literal["", "value", "difference"] = "") -> str:
        """Return the label of a score, with its data set if there are several; *: report-only.

        Args:
            key: the score.
            unit: whether the unit of its values or of differences follows in brackets.
        """
        score_format = self.get_score_format(key)
        unit_text = {"": "", "value": score_format.unit, "difference": score_format.difference_unit}
        label = self._format_label(key)
        return f"{label} ({unit_text[unit]})" if unit_text[unit] else label

    def _format_label(self, key: ScoreKey) -> str:
        has_several_datasets = len({dataset for dataset, _ in self.observations}) > 1
        report_only_mark = "*" if self.sweep_data.is_report_only(*key) else ""
        dataset_prefix = f"{key[0]}: " if has_several_datasets else ""
        return dataset_prefix + formatting.format_score_label(key[1]) + report_only_mark

    def describe_directions(self, keys: Iterable[ScoreKey]) -> list[str]:
        """Return a sentence on those of the scores of which lower is better; nothing without."""
        labels = [
            self.format_heading(key)
            for key in keys
            if get_score_kind_traits(self.sweep_data.get_score_kind(*key)).higher_is_better is False
        ]
        sentence = f"Lower is better, and an improvement negative: {', '.join(labels)}."
        return [sentence] if labels else []

    def get_arm_label(self, arm: str) -> str:
        """Return the label of an arm."""
        return self.plan.get_arm(arm).label


def analyze(store: Store, sweep_data: SweepData) -> Results:
    """Compute the results of a sweep from its collected data and its saved predictions."""
    plan = sweep_data.plan
    observations = {key: sweep_data.get_observations(*key) for key in sweep_data.list_score_keys()}
    scores = build_primary_scores(sweep_data)
    primary_effects = estimate_contrasts(plan.contrasts, scores, plan.looks)
    declared = {
        key: collect_declared_comparisons(plan.contrasts, effects)
        for key, effects in primary_effects.items()
    }
    candidate_arms = [a.name for a in plan.arms if a.role != "noise"]
    outcomes = {key: load_outcomes(store, plan, *key) for key in primary_effects}
    return Results(
        sweep_data=sweep_data,
        observations=observations,
        primary_effects=primary_effects,
        other_effects={
            key: {c.name: estimate_effect(c.weights, o) for c in plan.contrasts}
            for key, o in observations.items()
            if key not in primary_effects
        },
        item_uncertainties={
            key: _estimate_item_uncertainties(plan, items) for key, items in outcomes.items()
        },
        item_groups={key: items.items.group_arms() for key, items in outcomes.items()},
        item_squares=collect_item_squares(store, sweep_data, observations),
        best_comparisons={
            key: compare_with_best(
                o,
                candidate_arms,
                plan.looks,
                {pair: comparison.effect for pair, comparison in declared.get(key, {}).items()},
            )
            for key, o in observations.items()
            if get_score_kind_traits(sweep_data.get_score_kind(*key)).is_ranked
            and not sweep_data.is_report_only(*key)
        },
        variance_components=_analyze_variances(plan, observations, outcomes),
        baselines={
            key: list_baselines(plan, observations[key], declared[key]) for key in primary_effects
        },
        audit_checks=store.get_sweep(plan.sweep_id).read_audit_checks(),
        data_checks=alarms.check_published_scores(store, sweep_data),
        contamination=collect_contamination(store, sweep_data),
        training_data_warnings=[
            *alarms.describe_unreadable_images(store, sweep_data),
            *alarms.describe_changed_contents(sweep_data),
        ],
        tuning_comparison=tuning.compare_with_default(store, plan, observations[scores[0].key]),
        tuning_trials=tuning_trials.collect_tuning_trials(store, plan),
    )


def build_primary_scores(sweep_data: SweepData) -> list[PrimaryScore]:
    """Return the scores on which the contrasts of the plan are tested, the first one first."""
    plan = sweep_data.plan
    keys = [(m.dataset, m.metric) for m in plan.primary_metrics]
    margins = {key: plan.get_margin(*key) for key in keys}
    return [
        PrimaryScore(
            key=key,
            observations=sweep_data.get_observations(*key),
            margin=margin.value if margin is not None else None,
        )
        for key, margin in margins.items()
    ]


def _estimate_item_uncertainties(
    plan: Plan, outcomes: ItemOutcomes
) -> dict[str, ItemUncertainty | None]:
    return {
        c.name: estimate_item_uncertainty(c.weights, *outcomes.pair(c.weights))
        for c in plan.contrasts
    }


def _analyze_variances(
    plan: Plan,
    observations: Mapping[ScoreKey, Observations],
    outcomes: Mapping[ScoreKey, ItemOutcomes],
) -> dict[ScoreKey, list[VarianceComponent]]:
    """Return the variance of each of these scores by source; empty without both A/A arms."""
    if find_noise_arms(plan) is None:
        return {}
    return {
        key: analyze_variance(plan, observations[key], *saved.pair([plan.reference]))
        for key, saved in outcomes.items()
    }


def compute_knockout_effect(sweep_data: SweepData, component: str) -> KnockoutEffect:
    """Return the effect of switching a component off in the trained reference arm."""
    history = sweep_data.history
    rows = history[(history["phase"] == "knockout") & (history["arm"] == sweep_data.plan.reference)]

    def compute_column_mean(column: str) -> float | None:
        values = rows[column].dropna() if column in rows else []
        return math.fsum(values) / len(values) if len(values) else None

    relative_changes = {
        part: compute_column_mean(f"relative_change.{part}")
        for part in COMPONENT_PARTS.get(component, ())
    }
    return KnockoutEffect(
        loss_change=compute_column_mean(f"knockout_effect.{component}"),
        relative_changes={k: v for k, v in relative_changes.items() if v is not None},
    )


def find_comparability_warnings(results: Results) -> list[str]:
    """Return a warning for each difference in numerics, code or images between compared runs."""
    mixed_contrasts, mixed_cells = find_mixed_numerics(results), find_mixed_training(results)
    warnings = []
    if mixed_contrasts:
        warnings.append(
            f"Arms of different numerics classes are compared: {_format_names(mixed_contrasts)}."
        )
    if mixed_cells:
        warnings.append(
            f"Trained by a different version of the code: {_format_names(mixed_cells)}; "
            "outdated=rerun trains them again."
        )
    warnings += describe_item_groups(results.plan, results.item_groups)
    return [*warnings, *results.training_data_warnings]


def find_mixed_numerics(results: Results) -> list[str]:
    """Return the labels of contrasts whose arms ran in different numerics classes at one seed."""
    run_by_cell = results.run_by_cell
    mixed_contrasts = []
    for contrast in results.plan.contrasts:
        for seed in results.effects[contrast.name].seeds:
            numerics_classes = [
                results.sweep_data.numerics_classes[run_by_cell[arm, seed]]
                for arm in contrast.weights
            ]
            if not are_one_class(numerics_classes):
                mixed_contrasts.append(contrast.label)
                break
    return mixed_contrasts


def find_mixed_training(results: Results) -> list[str]:
    """Return the cells whose training code is not the most common one, as `<arm>/<seed>`.

    For a tuned sweep the cells with default hyper-parameters are included, marked "(default)".
    """
    run_by_label = {f"{arm}/{seed}": run for (arm, seed), run in results.run_by_cell.items()}
    hash_by_run = dict(results.sweep_data.training_hashes)
    if results.tuning_comparison is not None:
        default_runs = results.tuning_comparison.runs.items()
        run_by_label |= {f"{arm}/{seed} (default)": run for (arm, seed), run in default_runs}
        hash_by_run |= results.tuning_comparison.training_hashes
    hash_by_label = {
        label: hash_by_run[run] for label, run in run_by_label.items() if run in hash_by_run
    }
    common_hashes = [
        training_hash for training_hash, _ in Counter(hash_by_label.values()).most_common(1)
    ]
    return [label for label, label_hash in hash_by_label.items() if label_hash not in common_hashes]


def _format_names(names: Sequence[str]) -> str:
    more_text = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more_text
