"""Planted effects: whether a sweep over synthetic data finds exactly the effects planted in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from analysis.collect.frame import SweepData
from analysis.formatting import append_unit, make_number_format
from analysis.results.results import build_primary_scores
from analysis.statistics.effects import Effect, Observations
from analysis.statistics.verdicts import (
    EXACTLY_ZERO,
    NO_VERDICT,
    PRACTICALLY_NOTHING,
    UNRESOLVED,
    PrimaryScore,
    ScoreKey,
    Verdict,
    estimate_contrasts,
    judge,
)
from uniclip.store import Contrast, PlantedEffect

CHANCE_TOLERANCE_SE = 4.0
"""Largest distance of a score "at chance" from chance, in standard errors of the test set."""


class CheckStatus(StrEnum):
    """What became of the check of a planted effect."""

    CONFIRMED = "confirmed"
    FAILED = "not confirmed"
    """Contradicted, not shown by the look that was reached, or without complete runs."""
    NOT_CHECKED = "not checked"
    """Its first look was not reached: there is no verdict yet."""


@dataclass(frozen=True, kw_only=True)
class PlantedEffectResult:
    """Result of the check of one planted effect."""

    description: str
    status: CheckStatus
    detail: str


def check_planted_effects(sweep_data: SweepData) -> list[PlantedEffectResult]:
    """Check every planted effect of the plan; one without complete runs is not confirmed."""
    effects = estimate_contrasts(
        sweep_data.plan.contrasts, build_primary_scores(sweep_data), sweep_data.plan.looks
    )
    return [
        _check_planted_effect(planted_effect, sweep_data, effects)
        for planted_effect in sweep_data.plan.planted_effects
    ]


def _check_planted_effect(
    planted_effect: PlantedEffect,
    sweep_data: SweepData,
    primary_effects: Mapping[ScoreKey, Mapping[str, Effect]],
) -> PlantedEffectResult:
    plan = sweep_data.plan
    key = plan.primary_metric.dataset, planted_effect.metric or plan.primary_metric.metric
    observations = sweep_data.get_observations(*key)
    if planted_effect.kind == "at_chance":
        values = observations.values.get(planted_effect.arm or "", {})
        status, detail = _check_at_chance(values, observations)
    else:
        contrast = next(c for c in plan.contrasts if c.name == planted_effect.contrast)
        effects = primary_effects.get(key) or _estimate_on_other_score(contrast, sweep_data, key)
        effect = effects[contrast.name]
        verdict = judge(effect, contrast)
        status = _check_effect(planted_effect.kind, effect, verdict)
        detail = _describe_effect(effect, verdict, sweep_data.get_score_kind(*key))
        if verdict.word == UNRESOLVED and status is CheckStatus.FAILED:
            detail += f": not shown with {verdict.num_seeds} seeds"
    return PlantedEffectResult(description=planted_effect.description, status=status, detail=detail)


def _estimate_on_other_score(
    contrast: Contrast, sweep_data: SweepData, key: ScoreKey
) -> dict[str, Effect]:
    """Return the effect on a score that is not a primary one: without Holm's correction."""
    score = PrimaryScore(key=key, observations=sweep_data.get_observations(*key))
    exploratory = replace(contrast, primary=False)
    return estimate_contrasts([exploratory], [score], sweep_data.plan.looks)[key]


def _check_effect(kind: str, effect: Effect, verdict: Verdict) -> CheckStatus:
    if not effect.values or effect.num_missing or effect.num_diverged:
        return CheckStatus.FAILED
    if kind == "exactly_zero":
        return _to_status(effect.is_exactly_zero)
    if verdict.word == NO_VERDICT:
        return CheckStatus.NOT_CHECKED
    if kind == "positive_effect":
        return _to_status(verdict.sign == 1)
    if kind == "no_significant_effect":
        return _to_status(not verdict.sign)
    return _to_status(verdict.word in (PRACTICALLY_NOTHING, EXACTLY_ZERO))


def _to_status(is_confirmed: bool) -> CheckStatus:
    return CheckStatus.CONFIRMED if is_confirmed else CheckStatus.FAILED


def _check_at_chance(
    values: Mapping[int, float], observations: Observations
) -> tuple[CheckStatus, str]:
    """Return whether the mean over seeds is at chance, with the numbers as text."""
    num_seeds = len(observations.seeds)
    if len(values) < num_seeds:
        return CheckStatus.FAILED, f"{len(values)} of {num_seeds} seeds have the score"
    if observations.chance is None or not observations.resolution:
        return CheckStatus.FAILED, "the score has no chance level, or is no proportion"
    chance, samples = observations.chance, 1 / observations.resolution
    standard_error = math.sqrt(chance * (1 - chance) / samples)
    mean = math.fsum(values.values()) / len(values)
    number_format = make_number_format("accuracy", standard_error)
    detail = (
        f"{number_format.format_with_unit(mean)}, chance {number_format.format_exact(chance)} %, "
        f"standard error of the test set {number_format.format(standard_error)} pp"
    )
    return _to_status(abs(mean - chance) <= CHANCE_TOLERANCE_SE * standard_error), detail


def _describe_effect(effect: Effect, verdict: Verdict, score_kind: str) -> str:
    if effect.mean is None:
        return "not measured"
    if effect.is_exactly_zero:
        return f"exactly 0 in {len(effect.seeds)} seeds"
    number_format = make_number_format(score_kind, effect.standard_error)
    unit = number_format.difference_unit
    mean_text = append_unit(number_format.format_signed(effect.mean), unit)
    parts = [f"{mean_text} {number_format.format_interval(effect)}".rstrip()]
    look = effect.look
    if look is not None and look.p is not None:
        parts.append(f"p = {look.p:.3g}")
    if look is not None and look.margin is not None and not verdict.sign:
        margin_format = make_number_format(score_kind, None)
        margin = append_unit(margin_format.format_exact(look.margin), unit)
        p_text = "" if look.p_equivalence is None else f", p = {look.p_equivalence:.3g}"
        parts.append(f"margin {margin}{p_text}")
    parts.append(f"{len(effect.seeds)} seeds")
    return ", ".join([*parts, verdict.text])
