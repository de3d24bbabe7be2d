"""Anatomy of the variance of a score: initial weights, random draws, rounding, and test items.

A score y of seed s and stream k is y = mu + W_s + D_sk, a nested random-effects model: streams of
one seed share the initial weights W, and differ in the random draws D (order of samples, views).
Within D, a run whose initial weights differ by one part in a million shows what training makes of
differences as small as rounding errors. Estimates are those of the analysis of variance. The
interval of a mean square is that of chi-square; that of a difference of mean squares is Williams's
(Biometrika, 1962), which is approximate. The test items are the same for all runs: their share is
no part of the differences between runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.statistics.effects import ALPHA, Observations
from analysis.statistics.item_clusters import Clusters, compute_clustered_se

Floats = NDArray[np.float64]
Source = Literal["initial_weights", "draws", "rounding", "items"]
MIN_SEEDS = 3
"""Smallest number of seeds for which variances are estimated."""


@dataclass(frozen=True, kw_only=True)
class VarianceComponent:
    """The variance of a score that is due to one source."""

    source: Source
    variance: float
    """Estimate, at least 0."""
    low: float | None
    """Lower end of the 95 % interval; None for the items."""
    high: float | None
    """Upper end."""
    degrees_of_freedom: int

    @property
    def sd(self) -> float:
        """The standard deviation, in units of the score."""
        return math.sqrt(self.variance)


@dataclass(frozen=True)
class _MeanSquare:
    value: float
    df: int

    def interval(self) -> tuple[float, float]:
        """Return the chi-square interval of the expected mean square."""
        sum_of_squares = self.df * self.value
        upper_quantile = special.chdtri(self.df, ALPHA / 2)
        lower_quantile = special.chdtri(self.df, 1 - ALPHA / 2)
        return sum_of_squares / upper_quantile, sum_of_squares / lower_quantile


def estimate_variance_components(
    observations: Observations,
    stream_arms: Sequence[str],
    perturbed_arm: str | None = None,
    outcomes: Mapping[int, Floats] | None = None,
    clusters: Clusters | None = None,
) -> list[VarianceComponent]:
    """Return the variance of a score by its source; empty below three complete seeds.

    Args:
        observations: The values of the score.
        stream_arms: The reference arm, then A/A arms that differ from it in the stream alone.
        perturbed_arm: The A/A arm that differs from the reference in `train.weight_perturbation`
            alone; without one, "draws" include the rounding.
        outcomes: Seed -> outcomes (n,) of the test items in the reference arm; their mean is the
            score.
        clusters: The cluster (n,) of each item; None = each is its own.
    """
    arms = [*stream_arms, *([perturbed_arm] if perturbed_arm else [])]
    seeds = [
        s for s in observations.seeds if all(s in observations.values.get(a, {}) for a in arms)
    ]
    if len(seeds) < MIN_SEEDS or len(stream_arms) < 2:
        return []
    table = np.array([[observations.values[a][s] for a in stream_arms] for s in seeds])
    num_seeds, num_streams = table.shape
    between = _MeanSquare(num_streams * float(table.mean(1).var(ddof=1)), num_seeds - 1)
    within = _MeanSquare(float(table.var(1, ddof=1).mean()), num_seeds * (num_streams - 1))
    components = [_subtract("initial_weights", between, within, num_streams)]
    if perturbed_arm is None:
        components.append(_describe("draws", within))
    else:
        perturbed = np.array([observations.values[perturbed_arm][s] for s in seeds])
        rounding = _MeanSquare(float(np.square(perturbed - table[:, 0]).mean() / 2), num_seeds)
        components += [_subtract("draws", within, rounding, 1), _describe("rounding", rounding)]
    items = _estimate_items([v for s, v in (outcomes or {}).items() if s in seeds], clusters)
    return [*components, *items]


def _describe(source: Source, mean_square: _MeanSquare) -> VarianceComponent:
    low, high = mean_square.interval()
    return VarianceComponent(
        source=source,
        variance=mean_square.value,
        low=low,
        high=high,
        degrees_of_freedom=mean_square.df,
    )


def _subtract(
    source: Source, total: _MeanSquare, error: _MeanSquare, repeats: int
) -> VarianceComponent:
    """Return the component (E[total] - E[error]) / repeats, with Williams's interval."""
    ends = []
    for tail in (ALPHA / 2, 1 - ALPHA / 2):
        f_quantile = special.fdtri(total.df, error.df, 1 - tail)
        difference = total.value - f_quantile * error.value
        ends.append(max(0.0, total.df * difference / (repeats * special.chdtri(total.df, tail))))
    return VarianceComponent(
        source=source,
        variance=max(0.0, (total.value - error.value) / repeats),
        low=ends[0],
        high=ends[1],
        degrees_of_freedom=total.df,
    )


def _estimate_items(
    outcomes: Sequence[Floats], clusters: Clusters | None
) -> list[VarianceComponent]:
    """Return the variance of the mean outcome over test sets of this size, averaged over runs."""
    if clusters is not None and any(len(v) != len(clusters) for v in outcomes):
        return []
    errors = [compute_clustered_se(v, clusters) for v in outcomes]
    variances = [error**2 for error in errors if error is not None]
    if not variances:
        return []
    num_clusters = len(outcomes[0]) if clusters is None else len(np.unique(clusters))
    return [
        VarianceComponent(
            source="items",
            variance=math.fsum(variances) / len(variances),
            low=None,
            high=None,
            degrees_of_freedom=num_clusters - 1,
        )
    ]
