"""Multiple contrasts: Holm's correction (Holm, 1979), and the arms that tie for the best mean.

What these tests claim of the contrasts of a plan is in `verdicts`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.statistics.effects import (
    ALPHA,
    MIN_SEEDS_FOR_INTERVAL,
    Effect,
    Observations,
    compute_min_spread,
    estimate_effect,
)
from analysis.statistics.looks import count_finished, find_reached_look, run_look
from uniclip.store import Look


def holm_adjust(p_values: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p-values, at most 1, in the order of the arguments."""
    sorted_indices = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted_p_values, running_max = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted_indices):
        running_max = max(running_max, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted_p_values[i] = running_max
    return adjusted_p_values


@dataclass(frozen=True)
class BestComparison:
    """The arm with the best mean, compared with the others."""

    best_arm: str
    tied_arms: frozenset[str]
    """The best arm, and those that are not significantly worse."""
    worse_arms: frozenset[str]
    """The arms that are significantly worse."""
    num_arms: int
    """Number of arms with three seeds. Those that share fewer with the best are in neither set."""

    @property
    def bold_arms(self) -> set[str]:
        """The tied arms; empty if this distinguishes none."""
        return set() if len(self.tied_arms) == self.num_arms else set(self.tied_arms)


def _find_best_arm(observations: Observations, arms: Sequence[str], looks: Sequence[Look]) -> str:
    """Return the arm with the best mean over the seeds of the last look that all arms reached.

    Before the first look of any arm, these are the seeds that all of them have, or else all seeds.
    """
    direction = 1 if observations.higher_is_better else -1
    first_seed = observations.first_seed
    num_finished = min(
        count_finished(
            {*observations.values[arm], *(s for a, s in observations.diverged_cells if a == arm)},
            first_seed,
        )
        for arm in arms
    )
    look = find_reached_look(looks, num_finished)
    if look is not None:
        seeds = set(range(first_seed, first_seed + look.num_seeds))
    else:
        seeds = set.intersection(*(set(observations.values[arm]) for arm in arms))
    means = {}
    for arm in arms:
        values = observations.values[arm]
        tested = [value for seed, value in values.items() if seed in seeds] or [*values.values()]
        means[arm] = direction * math.fsum(tested) / len(tested)
    return max(arms, key=lambda arm: means[arm])


def compare_with_best(
    observations: Observations,
    arms: Sequence[str],
    looks: Sequence[Look],
    declared_effects: Mapping[tuple[str, str], Effect] | None = None,
) -> BestComparison | None:
    """Compare the arm with the best mean with every other one; None below two arms of three seeds.

    The best arm is that of the seeds of the last look that all arms have reached. A pair of arms
    that the plan compares has the verdict of that contrast. All other pairs: paired t tests at the
    same looks, with Holm's correction over them. Before the first look every pair ties.

    Args:
        observations: values of the score.
        arms: arms that are compared.
        looks: the schedule, by number of seeds.
        declared_effects: (arm, other arm) -> effect of a contrast of these two on this score.
    """
    eligible_arms = [
        a for a in arms if len(observations.values.get(a, {})) >= MIN_SEEDS_FOR_INTERVAL
    ]
    if len(eligible_arms) < 2:
        return None
    best_arm = _find_best_arm(observations, eligible_arms, looks)
    direction = 1 if observations.higher_is_better else -1
    is_worse: dict[str, bool] = {}
    undeclared_p_values: dict[str, float] = {}
    for arm in eligible_arms:
        effect = (declared_effects or {}).get((best_arm, arm))
        if arm == best_arm:
            continue
        if effect is not None and effect.sign is not None:
            is_worse[arm] = effect.sign == 1
            continue
        weights = {best_arm: 1.0, arm: -1.0}
        difference = estimate_effect(weights, observations)
        if difference.is_exactly_zero or difference.p is not None:
            min_spread = compute_min_spread(weights, observations)
            result = run_look(
                difference,
                looks,
                ("", ""),
                min_spread=min_spread,
                first_seed=observations.first_seed,
            )
            is_behind = direction * (result.mean or 0.0) > 0
            undeclared_p_values[arm] = result.p if is_behind and result.p is not None else 1.0
    adjusted_p_values = holm_adjust(list(undeclared_p_values.values()))
    is_worse |= {a: p < ALPHA for a, p in zip(undeclared_p_values, adjusted_p_values)}
    return BestComparison(
        best_arm=best_arm,
        tied_arms=frozenset({best_arm, *(a for a, worse in is_worse.items() if not worse)}),
        worse_arms=frozenset(a for a, worse in is_worse.items() if worse),
        num_arms=len(eligible_arms),
    )
