"""Boundaries of repeated tests: what they are for normal statistics, and their error with t tests.

All families here are drawn at once, with arrays: they check levels, not the code of the verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, optimize, special, stats

from analysis.statistics.effects import paired_t
from tests.simulations.proportions import Rate

Floats = NDArray[np.float64]


def spend_like_pocock(fractions: Floats) -> Floats:
    """Return the share of the error that is spent up to each fraction of the seeds."""
    return np.log(1 + (np.e - 1) * fractions)


def spend_like_obrien_fleming(fractions: Floats, alpha: float = 0.05) -> Floats:
    """Return the share of the error that is spent up to each fraction of the seeds."""
    z = -special.ndtri(alpha / 2)
    return np.asarray(2 * special.ndtr(-z / np.sqrt(fractions)) / alpha)


def compute_lan_demets_levels(num_seeds: Sequence[int], shares: Floats, alpha: float) -> Floats:
    """Return the level of each look for normal statistics (Lan and DeMets, Biometrika, 1983).

    The density of the statistic over the sequences that have not crossed a boundary is integrated
    from look to look (Armitage, McPherson and Rowe, J. R. Stat. Soc. A, 1969).
    """
    grid = np.linspace(-9, 9, 1801)
    step = grid[1] - grid[0]
    density = stats.norm.pdf(grid)
    boundaries: list[float] = []
    for i, spent in enumerate(np.diff(np.r_[0.0, shares]) * alpha):
        if i:
            ratio = num_seeds[i - 1] / num_seeds[i]
            root = np.sqrt(1 - ratio)
            kernel = stats.norm.pdf((grid[:, None] - np.sqrt(ratio) * grid) / root) / root
            density = kernel @ density * step
        upper_tail = np.cumsum(density[::-1])[::-1] * step - density * step / 2
        tail = interpolate.interp1d(grid, upper_tail)
        boundary = optimize.brentq(lambda z, t=tail, s=spent: 2 * t(z) - s, 0, 8.9)
        boundaries.append(boundary)
        density = np.where(np.abs(grid) >= boundary, 0.0, density)
    return np.asarray(2 * special.ndtr(-np.array(boundaries)))


def simulate_error(
    g: np.random.Generator,
    num_seeds: Sequence[int],
    levels: Sequence[float] | Floats,
    families: int,
    *,
    num_contrasts: int = 1,
) -> Rate:
    """Return how often contrasts without effect are significant at any look, by their t tests.

    Levels are divided by the number of contrasts: Holm's procedure claims something when its first
    step does.
    """
    values = g.normal(size=(families, num_contrasts, num_seeds[-1]))
    is_wrong = np.zeros(families, bool)
    for n, level in zip(num_seeds, levels):
        is_wrong |= (paired_t(values[..., :n])[2] < level / num_contrasts).any(1)
    return Rate(int(is_wrong.sum()), families)
