"""Power of the paired t test: the minimum detectable effect (MDE)."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import optimize, special

POWER = 0.8
"""Power at which a minimum detectable effect is stated."""


@lru_cache(maxsize=256)
def standardized_mde(n: int, alpha: float, power: float = POWER) -> float:
    """Return the MDE of a two-sided paired t test of `n` seeds, in standard deviations.

    Args:
        n: number of seeds, at least 2.
        alpha: level of the test.
        power: probability with which an effect of this size is detected.
    """
    df = n - 1
    critical_t = float(special.stdtrit(df, 1 - alpha / 2))
    # The power is the probability of both tails of the noncentral t distribution, integrated over
    # the distribution of the sample standard deviation by Gauss-Legendre quadrature:
    # scipy.stats.nct returns NaN for few degrees of freedom and small levels.
    quadrature_nodes, quadrature_weights = np.polynomial.legendre.leggauss(256)
    spread = np.sqrt(special.chdtri(df, (1 - quadrature_nodes) / 2) / df)

    def power_shortfall(ncp: float) -> float:
        tail_probabilities = special.ndtr(ncp - critical_t * spread) + special.ndtr(
            -ncp - critical_t * spread
        )
        return float(quadrature_weights @ tail_probabilities) / 2 - power

    upper_bound = 1.0
    while power_shortfall(upper_bound) < 0:
        upper_bound *= 2
    return float(optimize.brentq(power_shortfall, 0.0, upper_bound)) / math.sqrt(n)
