"""Power of the paired t test: minimum detectable effects (MDE), and seeds that a claim needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

POWER = 0.8
"""Power at which a minimum detectable effect is stated."""
SPREAD_CONFIDENCE = 0.95
"""Level of the interval of a standard deviation."""
MAX_SEEDS = 1000
"""Largest number of seeds that is searched for."""
NUM_NODES = 256
"""Nodes of the quadrature over the distribution of a sample SD."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MinimumDetectableEffect:
    """The smallest effect that a test detects with 80 % power."""

    value: float
    """For the spread as estimated."""
    low: float
    high: float
    """Its 95 % interval, from that of the spread."""
    num_seeds: int
    """Number of seeds of the test."""


def compute_spread_interval(spread: float, df: int) -> tuple[float, float]:
    """Return the 95 % interval of a standard deviation that was estimated with `df` degrees.

    df * s^2 / sigma^2 has a chi-square distribution for normal values.
    """
    tail = (1 - SPREAD_CONFIDENCE) / 2
    return (
        spread * math.sqrt(df / float(special.chdtri(df, tail))),
        spread * math.sqrt(df / float(special.chdtri(df, 1 - tail))),
    )


def estimate_mde(spread: float, df: int, num_seeds: int, level: float) -> MinimumDetectableEffect:
    """Return the MDE of a test of `num_seeds` seeds at `level`.

    Args:
        spread: estimated standard deviation of the contrast over seeds.
        df: degrees of freedom of that estimate, at least 1.
        num_seeds: number of seeds of the test, at least 2.
        level: level of the test, after all corrections.
    """
    factor = standardized_mde(num_seeds, level)
    low, high = compute_spread_interval(spread, df)
    return MinimumDetectableEffect(
        value=factor * spread, low=factor * low, high=factor * high, num_seeds=num_seeds
    )


@lru_cache(maxsize=256)
def standardized_mde(n: int, alpha: float, power: float = POWER) -> float:
    """Return the MDE of a two-sided paired t test of `n` seeds, in standard deviations.

    Args:
        n: number of seeds, at least 2.
        alpha: level of the test.
        power: probability with which an effect of this size is detected.
    """
    return _find_root(lambda size: compute_detection_power(n, alpha, size) - power)


def compute_detection_power(n: int, alpha: float, size: float) -> float:
    """Return the probability that a two-sided paired t test finds an effect of `size` SDs."""
    critical_t = float(special.stdtrit(n - 1, 1 - alpha / 2))
    ncp = size * math.sqrt(n)

    def find_tails(spread: Floats) -> Floats:
        tails = special.ndtr(ncp - critical_t * spread) + special.ndtr(-ncp - critical_t * spread)
        return np.asarray(tails, np.float64)

    return _average_over_spread(find_tails, n - 1)


def compute_equivalence_power(n: int, alpha: float, margin: float, size: float = 0.0) -> float:
    """Return the probability that two one-sided t tests place an effect within a margin.

    Args:
        n: number of seeds, at least 2.
        alpha: level of each of the two tests.
        margin: the margin, in standard deviations.
        size: true effect, in standard deviations.
    """
    critical_t = float(special.stdtrit(n - 1, 1 - alpha))
    scaled_margin, scaled_size = margin * math.sqrt(n), size * math.sqrt(n)

    def find_middle(spread: Floats) -> Floats:
        half_width = np.maximum(scaled_margin - critical_t * spread, 0.0)
        middle = special.ndtr(half_width - scaled_size) - special.ndtr(-half_width - scaled_size)
        return np.asarray(middle, np.float64)

    return _average_over_spread(find_middle, n - 1)


def find_required_seeds(effect_ratio: float, level: float, *, equivalence: bool) -> int | None:
    """Return the fewest seeds with 80 % power; None above 1000.

    Args:
        effect_ratio: effect, or margin, in standard deviations.
        level: level of the test, after all corrections.
        equivalence: whether both is required: that an effect of this size is detected, and that an
            effect of 0 is shown to be smaller.
    """

    def suffices(n: int) -> bool:
        is_detected = compute_detection_power(n, level, effect_ratio) >= POWER
        return is_detected and (
            not equivalence or compute_equivalence_power(n, level, effect_ratio) >= POWER
        )

    low, high = 1, 2
    while not suffices(high):
        low, high = high, 2 * high
        if low >= MAX_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high if high <= MAX_SEEDS else None


def _average_over_spread(compute: Callable[[Floats], Floats], df: int) -> float:
    """Return the mean of a function of sample SD / true SD over its distribution.

    It is integrated by Gauss-Legendre quadrature: scipy.stats.nct returns NaN for few degrees of
    freedom and small levels.
    """
    weights, spread = _spread_quadrature(df)
    return float(weights @ compute(spread)) / 2


@lru_cache(maxsize=256)
def _spread_quadrature(df: int) -> tuple[Floats, Floats]:
    """Return quadrature weights, and values of sample SD / true SD."""
    nodes, weights = _legendre_quadrature()
    return weights, np.sqrt(special.chdtri(df, (1 - nodes) / 2) / df)


@cache
def _legendre_quadrature() -> tuple[Floats, Floats]:
    """Return nodes and weights on [-1, 1]; finding them takes far longer than using them."""
    nodes, weights = np.polynomial.legendre.leggauss(NUM_NODES)
    return nodes, weights


def _find_root(compute_excess: Callable[[float], float]) -> float:
    """Return where an increasing function of a positive number is 0."""
    upper_bound = 1.0
    while compute_excess(upper_bound) < 0:
        upper_bound *= 2
    return float(optimize.brentq(compute_excess, 0.0, upper_bound))
