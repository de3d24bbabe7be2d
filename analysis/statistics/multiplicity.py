"""Multiple contrasts: Holm's correction (Holm, 1979), and the arms that tie for the best mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from analysis.statistics.effects import (
    ALPHA,
    MIN_SEEDS_FOR_INTERVAL,
    Effect,
    Observations,
    estimate_effect,
)


def holm_adjust(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p-values, at most 1, in the order of the arguments."""
    sorted_indices = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted_p_values, running_max = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted_indices):
        running_max = max(running_max, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted_p_values[i] = running_max
    return adjusted_p_values


def estimate_primary_effects(
    contrasts: Sequence[Mapping[str, float]], observations: Observations
) -> list[Effect]:
    """Estimate the primary contrasts, with Holm's correction over all declared ones.

    A contrast that cannot be tested (yet) counts with p = 1, so results that arrive later never
    make another verdict weaker. The MDE is stated at Holm's strictest level.
    """
    holm_alpha = ALPHA / max(1, len(contrasts))
    estimates = [estimate_effect(w, observations, alpha=holm_alpha) for w in contrasts]
    adjusted_p_values = holm_adjust([1.0 if e.p is None else e.p for e in estimates])
    return [
        e if e.p is None else replace(e, p_adjusted=a) for e, a in zip(estimates, adjusted_p_values)
    ]


def find_tied_for_best(observations: Observations, arms: Sequence[str]) -> set[str]:
    """Return the arms that are not significantly worse than the best mean (paired t, Holm).

    The result is empty when fewer than two arms have three seeds, or when no arm is significantly
    worse than the best. An arm that shares fewer than three seeds with the best is never included.
    """
    eligible_arms = [
        a for a in arms if len(observations.values.get(a, {})) >= MIN_SEEDS_FOR_INTERVAL
    ]
    if len(eligible_arms) < 2:
        return set()
    best_arm = max(
        eligible_arms,
        key=lambda a: math.fsum(observations.values[a].values()) / len(observations.values[a]),
    )
    differences = [
        (a, estimate_effect({best_arm: 1.0, a: -1.0}, observations))
        for a in eligible_arms
        if a != best_arm
    ]
    tested_p_values = [
        (a, 1.0 if e.is_exactly_zero else e.p)
        for a, e in differences
        if e.is_exactly_zero or e.p is not None
    ]
    adjusted_p_values = holm_adjust([p for _, p in tested_p_values if p is not None])
    tied_arms = {best_arm} | {
        a for (a, _), p in zip(tested_p_values, adjusted_p_values) if p >= ALPHA
    }
    return set() if len(tied_arms) == len(eligible_arms) else tied_arms
