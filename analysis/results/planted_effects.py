"""Planted truths: does a sweep over data whose truth is known say what it must, no more?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from analysis.collect.frame import SweepData, collect_sweep_data
from analysis.statistics.effects import Effect, estimate_effect, estimate_primary_effects
from uniclip.store import PlantedEffect, Store

CHANCE_TOLERANCE_SE = 4.0
"""Standard errors of the test items within which a score is "at chance"."""


@dataclass(frozen=True, kw_only=True)
class PlantedEffectResult:
    """What became of one expectation."""

    description: str
    holds: bool
    detail: str


def check_planted_effects(store: Store, sweep_id: str) -> list[PlantedEffectResult]:
    """A verdict for each expectation of a sweep's plan; what was not run does not hold."""
    sweep_data = collect_sweep_data(store, sweep_id)
    return [_check_planted_effect(sweep_data, e) for e in sweep_data.plan.planted_effects]


def _check_planted_effect(
    sweep_data: SweepData, planted_effect: PlantedEffect
) -> PlantedEffectResult:
    if planted_effect.kind == "at_chance":
        holds, detail = _check_at_chance(sweep_data, planted_effect)
    else:
        estimate = _estimate_effect(sweep_data, planted_effect)
        holds, detail = (
            _matches_planted_effect(planted_effect, estimate),
            _describe_effect(estimate),
        )
    return PlantedEffectResult(description=planted_effect.description, holds=holds, detail=detail)


def _estimate_effect(sweep_data: SweepData, planted_effect: PlantedEffect) -> Effect:
    """The contrast's effect: within the primary family on the primary score, else on its own."""
    plan = sweep_data.plan
    contrast = next(c for c in plan.contrasts if c.name == planted_effect.contrast)
    score = planted_effect.metric or plan.primary_metric.metric
    observations = sweep_data.get_observations(plan.primary_metric.dataset, score)
    if contrast.primary and score == plan.primary_metric.metric:
        primary_contrasts = [c for c in plan.contrasts if c.primary]
        return estimate_primary_effects([c.weights for c in primary_contrasts], observations)[
            primary_contrasts.index(contrast)
        ]
    return estimate_effect(contrast.weights, observations)


def _matches_planted_effect(planted_effect: PlantedEffect, estimate: Effect) -> bool:
    if not estimate.values or estimate.num_missing or estimate.num_diverged:
        return False
    if planted_effect.kind == "exactly_zero":
        return estimate.is_exactly_zero
    if planted_effect.kind == "helps":
        return estimate.sign == 1
    return estimate.sign == 0


def _check_at_chance(sweep_data: SweepData, planted_effect: PlantedEffect) -> tuple[bool, str]:
    plan = sweep_data.plan
    score = planted_effect.metric or plan.primary_metric.metric
    observations = sweep_data.get_observations(plan.primary_metric.dataset, score)
    values = list(observations.values.get(planted_effect.arm or "", {}).values())
    if len(values) < len(plan.seeds) or observations.chance is None or not observations.resolution:
        return False, f"{len(values)} of {len(plan.seeds)} seeds have the score"
    chance, samples = observations.chance, 1 / observations.resolution
    standard_error = math.sqrt(chance * (1 - chance) / samples)
    mean = math.fsum(values) / len(values)
    detail = (
        f"{mean:.3f}, chance {chance:.2f}, standard error of the test items {standard_error:.3f}"
    )
    return abs(mean - chance) <= CHANCE_TOLERANCE_SE * standard_error, detail


def _describe_effect(estimate: Effect) -> str:
    if estimate.mean is None:
        return "not measured"
    if estimate.is_exactly_zero:
        return f"exactly 0 in {len(estimate.seeds)} seeds"
    interval = "" if estimate.low is None else f" [{estimate.low:+.3f}, {estimate.high:+.3f}]"
    p_text = "" if estimate.verdict_p is None else f", p = {estimate.verdict_p:.3g}"
    return f"{estimate.mean:+.3f}{interval}{p_text}, {len(estimate.seeds)} seeds"
