"""How sure one can be of a contrast of arms: paired by seed, and never surer than the seeds allow.

A contrast is a weighted sum of arms (Plan.contrasts). Its value is taken seed by seed, over the
seeds that all of its arms completed, so whatever a seed does to every arm alike cancels. Two seeds
give dots; three or more a paired t interval (Student, 1908) with the spread of this contrast
alone. Holm (1979) guards the family of primary contrasts. A spread is never taken to be smaller
than the grain of the score (1 / test samples): equal differences are no proof of no spread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]

ALPHA = 0.05
CONFIDENCE = 1 - ALPHA
POWER = 0.8
MIN_SEEDS_FOR_INTERVAL = 3
"""Seeds from which on there is an interval."""


@dataclass(frozen=True, kw_only=True)
class Observations:
    """One score, as far as it was observed."""

    seeds: tuple[int, ...]
    values: Mapping[str, Mapping[int, float]]
    """Arm -> seed -> value, for the runs that have one."""
    diverged_cells: frozenset[tuple[str, int]] = frozenset()
    """(arm, seed) of runs that diverged."""
    chance: float | None = None
    """What guessing scores; a diverged run takes it in the worst case."""
    resolution: float = 0.0
    """The smallest step of the score: 1 / test samples; 0 = continuous."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a contrast came to."""

    seeds: tuple[int, ...]
    """The seeds that all of its arms completed."""
    values: tuple[float, ...]
    """The contrast, seed by seed."""
    mean: float | None
    low: float | None = None
    high: float | None = None
    """95 % interval of this contrast alone; None below three seeds."""
    p: float | None = None
    """Two-sided p value of "no effect", for this contrast alone."""
    p_adjusted: float | None = None
    """The same after Holm's correction over the primary contrasts; None outside of them."""
    mde: float | None = None
    """The smallest effect found with a power of 80 % by these seeds."""
    variance_ratio: float | None = None
    """Variance of the paired contrast / of the same contrast unpaired: below 1, pairing helps."""
    num_diverged: int = 0
    """Seeds lost because an arm diverged."""
    num_missing: int = 0
    """Seeds lost because an arm is not there (yet)."""
    worst_case_mean: float | None = None
    """Mean when diverged runs take the chance value; None if none diverged or chance is unknown."""

    @property
    def is_exactly_zero(self) -> bool:
        """Whether the contrast is 0 to the last bit in every seed: nothing to test."""
        return bool(self.values) and not any(self.values)

    @property
    def verdict_p(self) -> float | None:
        """The p value on which the verdict rests."""
        return self.p if self.p_adjusted is None else self.p_adjusted

    @property
    def sign(self) -> int | None:
        """+1 or -1 if an effect may be claimed, 0 if not, None if it cannot be judged."""
        if self.is_exactly_zero:
            return 0
        if self.verdict_p is None or self.mean is None:
            return None
        return int(math.copysign(1, self.mean)) if self.verdict_p < ALPHA else 0


def paired_t(values: Floats, *, min_spread: float = 0.0) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean, half width of the 95 % interval, two-sided p and spread of `values` (..., n), n >= 2.

    `grain`: a lower bound of the spread (standard deviation, n - 1).
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


def holm_adjust(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given (values above 1 are cut to 1)."""
    sorted_indices = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted_p_values, running_max = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted_indices):
        running_max = max(running_max, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted_p_values[i] = running_max
    return adjusted_p_values


@lru_cache(maxsize=256)
def standardized_mde(n: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """Smallest effect, in standard deviations, that a paired t of `n` seeds finds at `power`."""
    df = n - 1
    critical_t = float(special.stdtrit(df, 1 - alpha / 2))
    # Power is the noncentral t's tails, integrated over the spread's own distribution by quadrature
    # (scipy.stats.nct gives NaN for few degrees of freedom and strict levels).
    quadrature_nodes, quadrature_weights = np.polynomial.legendre.leggauss(256)
    spread = np.sqrt(special.chdtri(df, (1 - quadrature_nodes) / 2) / df)

    def shortfall(ncp: float) -> float:
        tail_probabilities = special.ndtr(ncp - critical_t * spread) + special.ndtr(
            -ncp - critical_t * spread
        )
        return float(quadrature_weights @ tail_probabilities) / 2 - power

    upper_bound = 1.0
    while shortfall(upper_bound) < 0:
        upper_bound *= 2
    return float(optimize.brentq(shortfall, 0.0, upper_bound)) / math.sqrt(n)


def compute_contrast(weights: Mapping[str, float], values_by_arm: Mapping[str, float]) -> float:
    """The weighted sum of arms, rounded once: arms that cancel give 0 to the last bit."""
    return math.fsum(w * values_by_arm[arm] for arm, w in weights.items())


def compute_variance_ratio(
    weights: Mapping[str, float], observations: Observations, seeds: Sequence[int]
) -> float | None:
    """Variance over `seeds` of the paired contrast / of independent arms; None without spread."""
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
    """What the contrast with these arm `weights` came to; `alpha` is the level of `detectable`."""
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
        num_diverged=len(diverged_seeds),
        num_missing=len(missing_seeds),
        worst_case_mean=_compute_worst_case_mean(
            weights, observations, [*complete_seeds, *diverged_seeds]
        )
        if diverged_seeds
        else None,
    )
    if len(values) < MIN_SEEDS_FOR_INTERVAL or estimate.is_exactly_zero:
        return estimate
    min_spread = observations.resolution * math.sqrt(sum(w * w for w in weights.values()) / 12)
    mean, half_width, p, spread = (
        float(x) for x in paired_t(np.array(values), min_spread=min_spread)
    )
    mde = standardized_mde(len(values), alpha) * spread
    return replace(estimate, low=mean - half_width, high=mean + half_width, p=p, mde=mde)


def estimate_primary_effects(
    contrasts: Sequence[Mapping[str, float]], observations: Observations
) -> list[Effect]:
    """The effects of the primary contrasts, with Holm's correction over all that were declared.

    A contrast that cannot be tested (yet) counts with p = 1: results that come in later never turn
    a claim into a stronger one by having been absent. `detectable` is at Holm's strictest level.
    """
    holm_alpha = ALPHA / max(1, len(contrasts))
    estimates = [estimate_effect(w, observations, alpha=holm_alpha) for w in contrasts]
    adjusted_p_values = holm_adjust([1.0 if e.p is None else e.p for e in estimates])
    return [
        e if e.p is None else replace(e, p_adjusted=a) for e, a in zip(estimates, adjusted_p_values)
    ]


def find_tied_for_best(observations: Observations, arms: Sequence[str]) -> set[str]:
    """The arms that cannot be told from the best mean (paired t, Holm); empty = no claim.

    Empty when fewer than two arms have three seeds, when no arm can be told from the best (then the
    mark would say nothing), and an arm with fewer than three seeds beside the best is never in it.
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


def compute_test_set_se(
    weights: Mapping[str, float], outcomes: Mapping[str, Mapping[int, Floats]]
) -> float | None:
    """Standard error that the choice of test items alone gives the mean contrast.

    `outcomes`: arm -> seed -> (n,) values of the test samples, their mean the score. Paired twice:
    by sample and by seed (the same test items serve every seed, so seeds are averaged first). None
    where an arm has none, or the numbers of samples differ.
    """
    if not all(arm in outcomes for arm in weights):
        return None
    seeds = set.intersection(*(set(outcomes[arm]) for arm in weights))
    if not seeds or len({len(outcomes[a][s]) for a in weights for s in seeds}) != 1:
        return None
    seed_contrasts = [sum(w * outcomes[a][s] for a, w in weights.items()) for s in sorted(seeds)]
    item_values = np.mean(np.stack(seed_contrasts), 0)
    return (
        float(item_values.std(ddof=1) / math.sqrt(len(item_values)))
        if len(item_values) > 1
        else None
    )


def _split_seeds(
    weights: Mapping[str, float], observations: Observations
) -> tuple[list[int], list[int], list[int]]:
    """The seeds that all arms completed; that some arm lost by diverging; that some arm lacks."""
    complete_seeds, diverged_seeds, missing_seeds = [], [], []
    for seed in observations.seeds:
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
    chance = observations.chance
    if chance is None:
        return None
    imputed_values = [
        {a: observations.values.get(a, {}).get(s, chance) for a in weights} for s in seeds
    ]
    return math.fsum(
        compute_contrast(weights, values_by_arm) for values_by_arm in imputed_values
    ) / len(seeds)
