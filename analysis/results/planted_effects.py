"""Planted effects: whether a sweep over synthetic data finds exactly the effects planted in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.collect.frame import SweepData
from analysis.formatting import append_unit, make_number_format
from analysis.statistics.effects import Effect, Observations, estimate_effect
from analysis.statistics.verdicts import estimate_contrasts
from uniclip.store import Contrast, PlantedEffect, PrimaryMetric

CHANCE_TOLERANCE_SE = 4.0
"""Largest distance of a score "at chance" from chance, in standard errors of the test set."""


@dataclass(frozen=True, kw_only=True)
class PlantedEffectResult:
    """Result of the check of one planted effect."""

    description: str
    passed: bool
    detail: str


def check_planted_effects(sweep_data: SweepData) -> list[PlantedEffectResult]:
    """Check every planted effect of the plan; one without complete runs does not pass."""
    plan = sweep_data.plan
    return [
        _check_planted_effect(
            e,
            plan.contrasts,
            plan.primary_metric,
            sweep_data.get_observations(*score_key),
            sweep_data.get_score_kind(*score_key),
        )
        for e in plan.planted_effects
        for score_key in [(plan.primary_metric.dataset, e.metric or plan.primary_metric.metric)]
    ]


def _check_planted_effect(
    planted_effect: PlantedEffect,
    contrasts: Sequence[Contrast],
    primary_metric: PrimaryMetric,
    observations: Observations,
    score_kind: str,
) -> PlantedEffectResult:
    if planted_effect.kind == "at_chance":
        values = observations.values.get(planted_effect.arm or "", {})
        passed, detail = _check_at_chance(values, observations)
    else:
        is_primary_metric = planted_effect.metric in (None, primary_metric.metric)
        contrast = next(c for c in contrasts if c.name == planted_effect.contrast)
        estimate = _estimate_effect(contrast, contrasts, observations, is_primary_metric)
        passed = _matches(planted_effect, estimate)
        detail = _describe_effect(estimate, score_kind)
    return PlantedEffectResult(description=planted_effect.description, passed=passed, detail=detail)


def _estimate_effect(
    contrast: Contrast,
    contrasts: Sequence[Contrast],
    observations: Observations,
    is_primary_metric: bool,
) -> Effect:
    """Estimate a contrast; on the primary metric as in the table of effects."""
    if not is_primary_metric:
        return estimate_effect(contrast.weights, observations)
    return estimate_contrasts(contrasts, observations)[contrast.name]


def _matches(planted_effect: PlantedEffect, estimate: Effect) -> bool:
    if not estimate.values or estimate.num_missing or estimate.num_diverged:
        return False
    if planted_effect.kind == "exactly_zero":
        return estimate.is_exactly_zero
    if planted_effect.kind == "positive_effect":
        return estimate.sign == 1
    return estimate.sign == 0


def _check_at_chance(values: Mapping[int, float], observations: Observations) -> tuple[bool, str]:
    """Return whether the mean over seeds is at chance, with the numbers as text."""
    num_seeds = len(observations.seeds)
    if len(values) < num_seeds or observations.chance is None or not observations.resolution:
        return False, f"{len(values)} of {num_seeds} seeds have the score"
    chance, samples = observations.chance, 1 / observations.resolution
    standard_error = math.sqrt(chance * (1 - chance) / samples)
    mean = math.fsum(values.values()) / len(values)
    number_format = make_number_format("accuracy", standard_error)
    detail = (
        f"{number_format.format_with_unit(mean)}, chance {number_format.format_exact(chance)} %, "
        f"standard error of the test set {number_format.format(standard_error)} pp"
    )
    return abs(mean - chance) <= CHANCE_TOLERANCE_SE * standard_error, detail


def _describe_effect(estimate: Effect, score_kind: str) -> str:
    if estimate.mean is None:
        return "not measured"
    if estimate.is_exactly_zero:
        return f"exactly 0 in {len(estimate.seeds)} seeds"
    number_format = make_number_format(score_kind, estimate.standard_error)
    interval = number_format.format_interval(estimate)
    p_text = "" if estimate.verdict_p is None else f", p = {estimate.verdict_p:.3g}"
    unit = number_format.difference_unit
    mean_text = append_unit(number_format.format_signed(estimate.mean), unit)
    return f"{f'{mean_text} {interval}'.rstrip()}{p_text}, {len(estimate.seeds)} seeds"
