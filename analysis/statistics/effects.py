"""Effects: contrasts of arms, paired by seed, with their intervals and p-values.

A contrast is a weighted sum of arms (`Plan.contrasts`). It is computed per seed, over the seeds
that all of its arms completed, so whatever a seed does to every arm alike cancels. From three seeds
on an effect has a paired t interval (Student, 1908) from the spread of this contrast alone; below
that, only the values are reported. The spread is bounded below by the resolution of the score
(1 / number of test samples), because equal differences in all seeds do not prove a spread of zero.
Correction for multiple contrasts and for repeated looks is in `verdicts` and `looks`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.statistics.power import MinimumDetectableEffect, estimate_mde
from uniclip.store import Look

Floats = NDArray[np.float64]

ALPHA = 0.05
CONFIDENCE = 1 - ALPHA
MIN_SEEDS_FOR_INTERVAL = 3
"""Smallest number of seeds for which an interval is computed."""


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Observed values of one score."""

    seeds: tuple[int, ...]
    """Planned seeds."""
    values: Mapping[str, Mapping[int, float]]
    """Arm -> seed -> value, for the runs that have one."""
    diverged_cells: frozenset[tuple[str, int]] = frozenset()
    """(arm, seed) of the runs that diverged."""
    unplanned_cells: frozenset[tuple[str, int]] = frozenset()
    """(arm, seed) for which no run is planned: nothing is missing there."""
    first_seed: int = 0
    """The seed from which looks count."""
    chance: float | None = None
    """Score of guessing; stands for diverged runs in the worst case."""
    resolution: float = 0.0
    """Smallest step of the score: 1 / number of test samples; 0 for a continuous score."""
    higher_is_better: bool = True
    """Direction of an improvement (`uniclip.store.score_kinds`)."""

    def compute_mean(self, arm: str) -> float | None:
        """Return the mean of one arm over its completed seeds; None without any."""
        values = self.values.get(arm, {})
        return math.fsum(values.values()) / len(values) if values else None

    def count_diverged(self, arm: str) -> int:
        """Return the number of diverged runs of one arm."""
        return sum(diverged_arm == arm for diverged_arm, _ in self.diverged_cells)

    def compute_worst_case_mean(self, arm: str) -> float | None:
        """Return the mean with diverged runs at chance; None without either."""
        num_diverged = self.count_diverged(arm)
        if not num_diverged or self.chance is None:
            return None
        values = [*self.values.get(arm, {}).values(), *[self.chance] * num_diverged]
        return math.fsum(values) / len(values)


@dataclass(frozen=True, kw_only=True)
class LookResult:
    """What the last look that was reached tested of a contrast; nothing before the first one."""

    dataset: str
    metric: str
    """The score that was tested."""
    looks: tuple[Look, ...]
    """The schedule, by number of seeds."""
    num_finished: int
    """So many seeds, from the first one on and without a gap, have finished."""
    finished_seeds: frozenset[int] = frozenset()
    """All seeds that have finished, also after a gap."""
    first_seed: int = 0
    """The seed from which looks count."""
    reached: Look | None = None
    num_tested: int = 0
    """Seeds of the test: those of the look without the diverged ones."""
    mean: float | None = None
    """Mean of the contrast over these seeds."""
    p: float | None = None
    """p-value of "no effect", corrected for the looks; with Holm's correction for a primary
    contrast. None if nothing was tested."""
    p_equivalence: float | None = None
    """The same for "an effect of the margin or more" (two one-sided tests); None without a
    margin."""
    margin: float | None = None
    is_corrected: bool = False
    """Whether the p-values are corrected for the other primary contrasts."""
    family_size: int = 1
    """Number of tests that Holm's correction covers; 1 for an exploratory contrast."""
    higher_is_better: bool = True
    """Whether a positive mean is an improvement."""
    alpha: float = ALPHA
    """The p-values are significant below it."""

    @property
    def next_look(self) -> Look | None:
        """The first look that was not reached."""
        num_reached = self.reached.num_seeds if self.reached else 0
        return next((look for look in self.looks if look.num_seeds > num_reached), None)

    def list_missing_seeds(self, num_seeds: int) -> list[int]:
        """Return which of the first so many seeds have not finished."""
        seeds = range(self.first_seed, self.first_seed + num_seeds)
        return [seed for seed in seeds if seed not in self.finished_seeds]

    @property
    def is_equivalent(self) -> bool:
        """Whether the effect is shown to be smaller than the margin."""
        return self.p_equivalence is not None and self.p_equivalence < self.alpha

    @property
    def sign(self) -> int | None:
        """+1 for an improvement that is shown and not within the margin, -1 for the opposite, 0 for
        neither."""
        if self.p is None or self.mean is None:
            return None
        is_shown = self.p < self.alpha and not self.is_equivalent
        is_improvement = (self.mean > 0) == self.higher_is_better
        return (1 if is_improvement else -1) if is_shown else 0


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Estimate of one contrast."""

    seeds: tuple[int, ...]
    """Seeds that all arms of the contrast completed."""
    values: tuple[float, ...]
    """Value of the contrast for each of these seeds."""
    mean: float | None
    standard_error: float | None = None
    """Of the mean: from the seeds; for a single seed, from the test samples. None if unknown."""
    low: float | None = None
    high: float | None = None
    """95 % interval of this contrast alone; None below three seeds."""
    p: float | None = None
    """Two-sided p-value of "no effect", for this contrast alone."""
    spread: float | None = None
    """Standard deviation of the contrast over seeds; None below three seeds."""
    mde: MinimumDetectableEffect | None = None
    """The smallest effect detected with 80 % power: at the last look that was reached, before the
    first one at that one."""
    look: LookResult | None = None
    """What the verdict is based on; None for a contrast that is only estimated."""
    variance_ratio: float | None = None
    """Variance of the paired contrast / of the unpaired one; below 1, pairing helps."""
    num_diverged: int = 0
    """Number of seeds lost because an arm diverged."""
    num_missing: int = 0
    """Number of seeds lost because the value of an arm is missing."""
    diverged_seeds: tuple[int, ...] = ()
    """The seeds lost because an arm diverged."""
    worst_case_mean: float | None = None
    """Mean with diverged runs at chance; None if none diverged or chance is unknown."""
    higher_is_better: bool = True
    """Whether a positive effect is an improvement."""

    @property
    def is_exactly_zero(self) -> bool:
        """Whether the contrast is exactly 0 for every seed, so that there is nothing to test."""
        return bool(self.values) and not any(self.values)

    @property
    def verdict_p(self) -> float | None:
        """p-value on which the verdict is based."""
        return self.p if self.look is None else self.look.p

    @property
    def p_adjusted(self) -> float | None:
        """p-value after Holm's correction over the primary contrasts; None for all others."""
        return self.look.p if self.look is not None and self.look.is_corrected else None

    @property
    def sign(self) -> int | None:
        """+1 for a significant improvement, -1 for the opposite, 0 for neither, None if it cannot
        be tested."""
        if self.is_exactly_zero:
            return 0
        if self.look is not None:
            return self.look.sign
        if self.verdict_p is None or self.mean is None:
            return None
        is_improvement = (self.mean > 0) == self.higher_is_better
        return (1 if is_improvement else -1) if self.verdict_p < ALPHA else 0


def paired_t(values: Floats, *, min_spread: float = 0.0) -> tuple[Floats, Floats, Floats, Floats]:
    """Run paired t tests along the last axis of `values`, of shape (..., n) with n >= 2.

    Args:
        values: differences.
        min_spread: lower bound of the standard deviation (with n - 1 degrees of freedom).

    Returns:
        Mean, half width of the 95 % interval, two-sided p-value and standard deviation, each of
        shape (...).
    """
    n = values.shape[-1]
    mean = values.mean(-1)
    spread = np.maximum(values.std(-1, ddof=1), min_spread)
    standard_error = spread / math.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(
            standard_error > 0, np.abs(mean) / standard_error, np.where(mean == 0, 0.0, np.inf)
        )
    half_width = special.stdtrit(n - 1, 0.5 + CONFIDENCE / 2) * standard_error
    return mean, half_width, 2 * special.stdtr(n - 1, -t), spread


def compute_contrast(weights: Mapping[str, float], values_by_arm: Mapping[str, float]) -> float:
    """Return the weighted sum of arms, rounded once: arms that cancel give exactly 0."""
    return math.fsum(w * values_by_arm[arm] for arm, w in weights.items())


def compute_variance_ratio(
    weights: Mapping[str, float], observations: Observations, seeds: Sequence[int]
) -> float | None:
    """Return the variance of the paired contrast / of independent arms; None without spread."""
    if len(seeds) < 2:
        return None
    value_table = np.array([[observations.values[arm][s] for s in seeds] for arm in weights])
    w = np.array(list(weights.values()))
    unpaired_variance = float((w**2 * value_table.var(1, ddof=1)).sum())
    return (
        float((w @ value_table).var(ddof=1)) / unpaired_variance if unpaired_variance > 0 else None
    )


def estimate_effect(
    weights: Mapping[str, float], observations: Observations, *, alpha: float = ALPHA
) -> Effect:
    """Estimate the contrast with these arm weights; `alpha` is the level of its MDE."""
    complete_seeds, diverged_seeds, missing_seeds = _split_seeds(weights, observations)
    values = [
        compute_contrast(weights, {a: observations.values[a][s] for a in weights})
        for s in complete_seeds
    ]
    estimate = Effect(
        seeds=tuple(complete_seeds),
        values=tuple(values),
        mean=math.fsum(values) / len(values) if values else None,
        variance_ratio=compute_variance_ratio(weights, observations, complete_seeds),
        higher_is_better=observations.higher_is_better,
        num_diverged=len(diverged_seeds),
        num_missing=len(missing_seeds),
        diverged_seeds=tuple(diverged_seeds),
        worst_case_mean=_compute_worst_case_mean(
            weights, observations, [*complete_seeds, *diverged_seeds]
        )
        if diverged_seeds
        else None,
    )
    min_spread = compute_min_spread(weights, observations)
    if len(values) == 1:
        sampling_error = _compute_sampling_error(weights, observations, complete_seeds[0])
        return replace(estimate, standard_error=sampling_error)
    if len(values) > 1:
        spread = max(float(np.std(values, ddof=1)), min_spread)
        estimate = replace(estimate, standard_error=spread / math.sqrt(len(values)))
    if len(values) < MIN_SEEDS_FOR_INTERVAL or estimate.is_exactly_zero:
        return estimate
    mean, half_width, p, spread = (
        float(x) for x in paired_t(np.array(values), min_spread=min_spread)
    )
    mde = estimate_mde(spread, len(values) - 1, len(values), alpha)
    low, high = mean - half_width, mean + half_width
    return replace(estimate, low=low, high=high, p=p, spread=spread, mde=mde)


def compute_min_spread(weights: Mapping[str, float], observations: Observations) -> float:
    """Return the standard deviation of a contrast that rounding the scores alone causes."""
    return observations.resolution * math.sqrt(sum(w * w for w in weights.values()) / 12)


def _compute_sampling_error(
    weights: Mapping[str, float], observations: Observations, seed: int
) -> float | None:
    """Return the standard error of one seed's contrast of proportions, as if it were unpaired."""
    proportions = {a: observations.values[a][seed] for a in weights}
    if not observations.resolution or not all(0 <= v <= 1 for v in proportions.values()):
        return None
    variance = sum(w * w * (v := proportions[a]) * (1 - v) for a, w in weights.items())
    return math.sqrt(max(variance, observations.resolution / 12) * observations.resolution)


def _split_seeds(
    weights: Mapping[str, float], observations: Observations
) -> tuple[list[int], list[int], list[int]]:
    """Split the planned seeds into complete, lost to divergence, and missing a value."""
    complete_seeds, diverged_seeds, missing_seeds = [], [], []
    for seed in observations.seeds:
        if any((a, seed) in observations.unplanned_cells for a in weights):
            continue
        arms_without_value = [a for a in weights if seed not in observations.values.get(a, {})]
        if not arms_without_value:
            complete_seeds.append(seed)
        elif all((a, seed) in observations.diverged_cells for a in arms_without_value):
            diverged_seeds.append(seed)
        else:
            missing_seeds.append(seed)
    return complete_seeds, diverged_seeds, missing_seeds


def _compute_worst_case_mean(
    weights: Mapping[str, float], observations: Observations, seeds: Sequence[int]
) -> float | None:
    """Return the mean contrast with missing values at chance."""
    chance = observations.chance
    if chance is None:
        return None
    imputed_values = [
        {a: observations.values.get(a, {}).get(s, chance) for a in weights} for s in seeds
    ]
    return math.fsum(
        compute_contrast(weights, values_by_arm) for values_by_arm in imputed_values
    ) / len(seeds)
