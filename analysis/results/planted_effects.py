"""Planted effects: whether a sweep over synthetic data finds exactly the effects planted in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.collect.frame import SweepData
from analysis.statistics.effects import Effect, Observations, estimate_effect
from analysis.statistics.multiplicity import estimate_primary_effects
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
            sweep_data.get_observations(
                plan.primary_metric.dataset, e.metric or plan.primary_metric.metric
            ),
        )
        for e in plan.planted_effects
    ]


def _check_planted_effect(
    planted_effect: PlantedEffect,
    contrasts: Sequence[Contrast],
    primary_metric: PrimaryMetric,
    observations: Observations,
) -> PlantedEffectResult:
    if planted_effect.kind == "at_chance":
        values = observations.values.get(planted_effect.arm or "", {})
        passed, detail = _check_at_chance(values, observations)
    else:
        is_primary_metric = planted_effect.metric in (None, primary_metric.metric)
        contrast = next(c for c in contrasts if c.name == planted_effect.contrast)
        estimate = _estimate_effect(contrast, contrasts, observations, is_primary_metric)
        passed, detail = _matches(planted_effect, estimate), _describe_effect(estimate)
    return PlantedEffectResult(description=planted_effect.description, passed=passed, detail=detail)


def _estimate_effect(
    contrast: Contrast,
    contrasts: Sequence[Contrast],
    observations: Observations,
    is_primary_metric: bool,
) -> Effect:
    """Estimate a contrast; a primary one on the primary metric with Holm's correction."""
    if not (contrast.primary and is_primary_metric):
        return estimate_effect(contrast.weights, observations)
    primary_contrasts = [c for c in contrasts if c.primary]
    estimates = estimate_primary_effects([c.weights for c in primary_contrasts], observations)
    return estimates[primary_contrasts.index(contrast)]


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
    detail = f"{mean:.3f}, chance {chance:.2f}, standard error of the test set {standard_error:.3f}"
    return abs(mean - chance) <= CHANCE_TOLERANCE_SE * standard_error, detail


def _describe_effect(estimate: Effect) -> str:
    if estimate.mean is None:
        return "not measured"
    if estimate.is_exactly_zero:
        return f"exactly 0 in {len(estimate.seeds)} seeds"
    interval = "" if estimate.low is None else f" [{estimate.low:+.3f}, {estimate.high:+.3f}]"
    p_text = "" if estimate.verdict_p is None else f", p = {estimate.verdict_p:.3g}"
    return f"{estimate.mean:+.3f}{interval}{p_text}, {len(estimate.seeds)} seeds"
