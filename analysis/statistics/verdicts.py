"""Verdicts: the one place where a comparison is called significant or not.

There is one family and one correction: Holm's over the contrasts that the plan declares primary, on
the primary score. Every other contrast is exploratory: it is not corrected, and its verdict is
marked. What compares two arms elsewhere (the sentence on the baselines, bold in the tables) uses
the verdict of the contrast of these two arms wherever the plan has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.statistics.effects import (
    MIN_SEEDS_FOR_INTERVAL,
    Effect,
    Observations,
    estimate_effect,
)
from analysis.statistics.multiplicity import estimate_primary_effects
from uniclip.store import Contrast

NOT_SIGNIFICANT = "not significant"
EXACTLY_ZERO = "exactly 0"
TOO_FEW_SEEDS = "too few seeds"
NO_DATA = "no data"
ALL_DIVERGED = "every seed diverged"
EXPLORATORY_MARK = "*"
SIGNIFICANT_VERDICTS = {
    "main": {1: "helps", -1: "hurts"},
    "difference": {1: "helps", -1: "hurts"},
    "interaction": {1: "synergy", -1: "antagonism"},
    "noise": {1: "differs", -1: "differs"},
}
"""Kind of contrast -> sign of a significant effect -> verdict."""


@dataclass(frozen=True)
class Verdict:
    """What is claimed of one contrast."""

    word: str
    """Such as "helps" or "not significant"."""
    sign: int
    """+1 or -1 if the effect is significant, else 0."""
    is_exploratory: bool
    """Whether it was not corrected for multiple contrasts."""
    kind: str
    """Kind of the contrast."""

    @property
    def text(self) -> str:
        """The word, marked `*` if it claims something without correction."""
        return self.word + (EXPLORATORY_MARK if self.sign and self.is_exploratory else "")

    @property
    def short_text(self) -> str:
        """The text for the terminal: "n.s. (Holm)" or "n.s." where it is not significant."""
        if self.word != NOT_SIGNIFICANT:
            return self.text
        return "n.s." if self.is_exploratory else "n.s. (Holm)"


def judge(effect: Effect, contrast: Contrast) -> Verdict:
    """Return the verdict on the effect of a contrast."""
    is_exploratory = effect.p_adjusted is None and not contrast.primary
    word, sign = _choose_word(effect, contrast.kind)
    return Verdict(word, sign, is_exploratory, contrast.kind)


def _choose_word(effect: Effect, kind: str) -> tuple[str, int]:
    if not effect.values:
        every_seed_diverged = effect.num_diverged and not effect.num_missing
        return ALL_DIVERGED if every_seed_diverged else NO_DATA, 0
    if effect.is_exactly_zero:
        return EXACTLY_ZERO, 0
    if len(effect.values) < MIN_SEEDS_FOR_INTERVAL:
        return TOO_FEW_SEEDS, 0
    sign = effect.sign
    assert sign is not None, "three seeds can be tested"
    return SIGNIFICANT_VERDICTS[kind][sign] if sign else NOT_SIGNIFICANT, sign


def estimate_contrasts(
    contrasts: Sequence[Contrast], observations: Observations
) -> dict[str, Effect]:
    """Return contrast -> effect on the primary score; Holm-corrected over the primary contrasts.

    Contrasts that compare the same arms with the same weights are one comparison: it is counted
    once in Holm's family, and all of them have its p-value.
    """
    families: dict[tuple[tuple[str, float], ...], list[Contrast]] = {}
    for contrast in contrasts:
        families.setdefault(_normalize_weights(contrast.weights), []).append(contrast)
    primary_keys = [key for key, same in families.items() if any(c.primary for c in same)]
    adjusted_effects = estimate_primary_effects(
        [_choose_primary(families[key]).weights for key in primary_keys], observations
    )
    adjusted_by_key = dict(zip(primary_keys, adjusted_effects))
    effects = {}
    for contrast in contrasts:
        adjusted = adjusted_by_key.get(_normalize_weights(contrast.weights))
        effects[contrast.name] = _estimate_contrast(contrast, observations, adjusted)
    return {c.name: effects[c.name] for c in contrasts}


def _choose_primary(contrasts: Sequence[Contrast]) -> Contrast:
    return next(c for c in contrasts if c.primary)


def _estimate_contrast(
    contrast: Contrast, observations: Observations, adjusted: Effect | None
) -> Effect:
    effect = estimate_effect(contrast.weights, observations)
    if adjusted is None:
        return effect
    if adjusted.values == effect.values:
        return adjusted
    if adjusted.mde is None or effect.mde is None or not adjusted.mean or not effect.mean:
        return replace(effect, p=adjusted.p, p_adjusted=adjusted.p_adjusted)
    scale = abs(effect.mean / adjusted.mean)
    return replace(effect, p=adjusted.p, p_adjusted=adjusted.p_adjusted, mde=adjusted.mde * scale)


def _normalize_weights(weights: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Return a key that contrasts share if they are equal up to a factor."""
    used = sorted((arm, weight) for arm, weight in weights.items() if weight)
    return tuple((arm, round(weight / used[0][1], 9)) for arm, weight in used) if used else ()


@dataclass(frozen=True)
class DeclaredComparison:
    """The verdict on two arms that a contrast of the plan compares."""

    contrast: Contrast
    effect: Effect
    """First arm minus second arm, up to a factor."""

    @property
    def verdict(self) -> Verdict:
        """The verdict of the contrast, as it is everywhere in the report."""
        return judge(self.effect, self.contrast)


def collect_declared_comparisons(
    contrasts: Sequence[Contrast], effects: Mapping[str, Effect]
) -> dict[tuple[str, str], DeclaredComparison]:
    """Return (arm, other arm) -> comparison, for every pair of arms that a contrast compares.

    Each pair is there both ways; a primary contrast precedes an exploratory one.
    """
    comparisons: dict[tuple[str, str], DeclaredComparison] = {}
    for contrast in sorted(contrasts, key=lambda c: not c.primary):
        positive_arms, negative_arms = contrast.arms_by_sign
        if len(positive_arms) == len(negative_arms) == 1:
            pair, effect = (positive_arms[0], negative_arms[0]), effects[contrast.name]
            if pair not in comparisons:
                comparisons[pair] = DeclaredComparison(contrast, effect)
                comparisons[pair[::-1]] = DeclaredComparison(contrast, negate(effect))
    return comparisons


def negate(effect: Effect) -> Effect:
    """Return the effect of the contrast with all weights negated."""
    low, high, mean = effect.low, effect.high, effect.mean
    worst = effect.worst_case_mean
    return replace(
        effect,
        values=tuple(-v for v in effect.values),
        mean=None if mean is None else -mean,
        low=None if high is None else -high,
        high=None if low is None else -low,
        worst_case_mean=None if worst is None else -worst,
    )
