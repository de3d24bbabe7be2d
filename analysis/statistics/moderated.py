"""Moderated t tests: the variance of each contrast is shrunk towards that of all.

This is the empirical Bayes test of limma (Smyth, "Linear models and empirical Bayes methods for
assessing differential expression", Stat. Appl. Genet. Mol. Biol., 2004). With few seeds it has more
degrees of freedom than a t test of one contrast. It is sound only if the contrasts have similar
variances: where components act unequally by seed, pooled intervals of 95 % covered 66 to 86 %. So
it makes no verdict, and a test of equal variances stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

from analysis.statistics.effects import MIN_SEEDS_FOR_INTERVAL, Floats

MIN_CONTRASTS = 3
"""Fewest contrasts from whose variances a prior is estimated."""


@dataclass(frozen=True, kw_only=True)
class ModeratedTests:
    """Moderated t tests of several contrasts."""

    p_values: tuple[float, ...]
    """Two-sided and uncorrected, in the order of the contrasts."""
    prior_df: float
    """Degrees of freedom of the prior; infinite if the variances differ no more than by chance."""
    homogeneity_p: float
    """p-value of equal variances (Bartlett's test)."""
    num_seeds: int


def run_moderated_tests(
    values: Sequence[Sequence[float]], weight_norms: Sequence[float]
) -> ModeratedTests | None:
    """Test contrasts over the same seeds.

    Args:
        values: value of each contrast for each seed, shape (m, n).
        weight_norms: root of the sum of squares of each contrast's weights, (m,): it is the scale
            of the contrast if all arms are equally noisy.

    Returns:
        The tests; None with fewer than three contrasts or seeds, or without spread.
    """
    if len(values) < MIN_CONTRASTS or len(values[0]) < MIN_SEEDS_FOR_INTERVAL:
        return None
    scaled = np.array(values) / np.array(weight_norms)[:, None]
    df, variances = scaled.shape[1] - 1, scaled.var(1, ddof=1)
    if not variances.all():
        return None
    prior_df, prior_variance = fit_prior(variances, df)
    share = 1.0 if math.isinf(prior_df) else prior_df / (prior_df + df)
    posterior_variances = share * prior_variance + (1 - share) * variances
    t = np.abs(scaled.mean(1)) / np.sqrt(posterior_variances / scaled.shape[1])
    if math.isinf(prior_df):
        p_values = 2 * special.ndtr(-t)
    else:
        p_values = 2 * special.stdtr(prior_df + df, -t)
    return ModeratedTests(
        p_values=tuple(float(p) for p in p_values),
        prior_df=prior_df,
        homogeneity_p=float(stats.bartlett(*scaled).pvalue),
        num_seeds=scaled.shape[1],
    )


def fit_prior(variances: Floats, df: int) -> tuple[float, float]:
    """Return degrees of freedom and variance of the prior (Smyth, 2004, section 6.2).

    Args:
        variances: sample variances, shape (m,), above 0.
        df: their degrees of freedom.
    """
    log_variances = np.log(variances) - special.digamma(df / 2) + math.log(df / 2)
    mean = float(log_variances.mean())
    excess = float(log_variances.var(ddof=1) - special.polygamma(1, df / 2))
    if excess <= 0:
        return math.inf, math.exp(mean)
    half_df = _invert_trigamma(excess)
    return 2 * half_df, math.exp(mean + float(special.digamma(half_df)) - math.log(half_df))


def _invert_trigamma(value: float) -> float:
    """Return x with trigamma(x) = value > 0; trigamma decreases from infinity to 0."""

    def compute_difference(log_x: float) -> float:
        return float(special.polygamma(1, math.exp(log_x))) - value

    return math.exp(optimize.brentq(compute_difference, -30.0, 30.0))
