"""The mean of an effect over data sets, with intervals that carry seeds, test items and data sets.

An effect is estimated for each seed and data set; its mean over data sets gives each set the same
weight, as the means of tables do. All sets are evaluated with the same trained models, so their
effects share what a seed does. Three questions have three intervals:

1. These sets, new seeds: paired t over seeds of the mean over sets.
2. These sets, new seeds and new test items: the variance of 1 and, for each set, that of its items,

       V = var(mean over sets) / S + (1 / K^2) sum over sets of (MS_items - MS_residual)+ / (S G),

   for S seeds, K sets and G clusters of items in a set; the residual of items and seeds is part of
   the first term. The mean squares are those of `item_clusters`.
3. New sets, seeds and items: sets are a random sample of the sets that might have been used, in the
   two-way random-effects model of `item_clusters` with sets in the place of clusters,

       d(s, k) = mu + seed(s) + set(k) + residual(s, k);

   what the items of a set do is part of set(k), and what a seed does to all sets is carried. V is
   (MS_seeds + MS_sets - MS_residual) / (S K), and at least the larger of the two without the
   subtraction: a negative component does not make it smaller.

The quantile of 2 and 3 is Cochran's (Biometrics, 1964): the mean of the t quantiles of the parts of
V, weighted by them. Satterthwaite's degrees of freedom cover too little where three seeds decide
and items or sets add little (92 % in simulations, for a stated 95 %).

Where seeds have no effect in common, the third is the interval of Hartung and Knapp (Statistics in
Medicine, 2001) and of Sidik and Jonkman (2002) with equal weights: t with K - 1 degrees of freedom.
The interval of DerSimonian and Laird (Controlled Clinical Trials, 1986), usual in meta-analysis,
takes a normal quantile and independent sets: with few sets, and with common seeds, both it and that
of Hartung and Knapp cover less than they state (docs/verdict_rates.md has the rates).

Sets are weighted alike and not by precision, because weights would make another mean of it, that of
the sets with many images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.statistics.effects import CONFIDENCE, MIN_SEEDS_FOR_INTERVAL, paired_t
from analysis.statistics.item_clusters import MeanSquares, compute_mean_squares

Floats = NDArray[np.float64]
MIN_RANDOM_SETS = 3
"""Smallest number of data sets from which an interval for new ones is computed."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 is outside."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, kw_only=True)
class SetTests:
    """Tests of signs and ranks over data sets, for the trained models as they are."""

    num_positive: int
    num_negative: int
    sign_p: float
    """Two-sided p-value of the exact sign test; sets with an effect of 0 are left out."""
    signed_rank_p: float
    """The same of Wilcoxon's signed-rank test (Demsar, JMLR 2006, for classifiers)."""


@dataclass(frozen=True, kw_only=True)
class MeanOverDatasets:
    """The mean of an effect over data sets."""

    mean: float
    by_dataset: Mapping[str, float]
    """Data set -> its effect, the mean over seeds."""
    num_seeds: int
    seeds: Interval | None
    """For new seeds, on these data sets; None below three seeds."""
    seeds_and_items: Interval | None
    """For new seeds and test items, on these data sets; None without outcomes of every set."""
    seeds_sets_and_items: Interval | None
    """For new seeds, data sets and test items; None below three seeds or data sets."""
    tests: SetTests
    without_one: Interval
    """Smallest and largest mean when one data set is left out; not an interval of confidence."""
    most_influential: str
    """The data set without which the mean is furthest from `mean`."""


def estimate_mean_over_datasets(
    effects: Mapping[str, Sequence[float]],
    item_squares: Mapping[str, MeanSquares | None] | None = None,
) -> MeanOverDatasets:
    """Estimate the mean of an effect over two data sets or more.

    Args:
        effects: data set -> effect for each seed; the seeds are the same for all.
        item_squares: data set -> mean squares over its test items; None where outcomes are missing.
    """
    names = list(effects)
    table = np.array([effects[name] for name in names], dtype=np.float64).T  # (seeds, sets)
    num_seeds, num_sets = table.shape
    set_means = table.mean(axis=0)
    mean = float(set_means.mean())
    means_without = (num_sets * mean - set_means) / (num_sets - 1)
    has_interval = num_seeds >= MIN_SEEDS_FOR_INTERVAL
    squares = [(item_squares or {}).get(name) for name in names]
    known_squares = [s for s in squares if s is not None]
    return MeanOverDatasets(
        mean=mean,
        by_dataset=dict(zip(names, set_means.tolist())),
        num_seeds=num_seeds,
        seeds=_estimate_over_seeds(table) if has_interval else None,
        seeds_and_items=_estimate_over_items(table, known_squares)
        if has_interval and len(known_squares) == num_sets
        else None,
        seeds_sets_and_items=_estimate_over_sets(table)
        if has_interval and num_sets >= MIN_RANDOM_SETS
        else None,
        tests=run_set_tests(set_means),
        without_one=Interval(low=float(means_without.min()), high=float(means_without.max())),
        most_influential=names[int(np.abs(means_without - mean).argmax())],
    )


def _estimate_over_seeds(table: Floats) -> Interval:
    mean, half_width, _, _ = (float(x) for x in paired_t(table.mean(axis=1)))
    return Interval(low=mean - half_width, high=mean + half_width)


def _estimate_over_items(table: Floats, squares: Sequence[MeanSquares]) -> Interval:
    """Return the interval for new seeds and items of a contrast (seeds, sets)."""
    num_seeds, num_sets = table.shape
    parts = [(float(table.mean(axis=1).var(ddof=1)) / num_seeds, num_seeds - 1)]
    for square in squares:
        size = square.num_seeds * square.num_clusters * num_sets**2
        parts.append((max(square.cluster - square.residual, 0.0) / size, square.cluster_df))
    variance = math.fsum(part for part, _ in parts)
    return _make_interval(float(table.mean()), variance, parts)


def _estimate_over_sets(table: Floats) -> Interval:
    """Return the interval for new seeds, sets and items of a contrast (seeds, sets)."""
    squares = compute_mean_squares(table)
    seed, dataset = squares.seed, squares.cluster
    variance = max(seed, dataset, seed + dataset - squares.residual) / table.size
    parts = [(seed, squares.seed_df), (dataset, squares.cluster_df)]
    return _make_interval(float(table.mean()), variance, parts)


def _make_interval(mean: float, variance: float, parts: Sequence[tuple[float, int]]) -> Interval:
    """Return the interval of a mean with this variance.

    Args:
        mean: the mean.
        variance: its variance.
        parts: what the variance is made of, with degrees of freedom, up to a common factor.
    """
    total = math.fsum(part for part, _ in parts)
    quantiles = [(part, float(special.stdtrit(df, 0.5 + CONFIDENCE / 2))) for part, df in parts]
    weighted = math.fsum(part * quantile for part, quantile in quantiles)
    half_width = weighted / total * math.sqrt(variance) if total else 0.0
    return Interval(low=mean - half_width, high=mean + half_width)


def run_set_tests(values: Floats) -> SetTests:
    """Test the signs and the ranks of effects (K,) of data sets."""
    nonzero = values[values != 0]
    num_positive, num_sets = int((nonzero > 0).sum()), len(nonzero)
    fewer = min(num_positive, num_sets - num_positive)
    sign_p = min(1.0, 2 * float(special.bdtr(fewer, num_sets, 0.5))) if num_sets else 1.0
    return SetTests(
        num_positive=num_positive,
        num_negative=num_sets - num_positive,
        sign_p=sign_p,
        signed_rank_p=compute_signed_rank_p(nonzero) if num_sets else 1.0,
    )


def compute_signed_rank_p(values: Floats) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test of values (K,) that are not 0.

    It is exact: every pattern of signs is counted, and equal values have their mean rank (scipy's
    exact test knows no ties, and counts permutations one by one).
    """
    sizes = np.abs(values)
    lower, upper = (np.searchsorted(np.sort(sizes), sizes, side) for side in ("left", "right"))
    doubled_ranks = lower + upper + 1  # twice the mean rank, an integer
    total = int(doubled_ranks.sum())
    counts = np.zeros(total + 1)  # rank sum of the positive values -> share of the patterns
    counts[0] = 1.0
    for rank in doubled_ranks.tolist():
        counts[rank:] = counts[rank:] / 2 + counts[: total + 1 - rank] / 2
        counts[:rank] /= 2
    observed = int(doubled_ranks[values > 0].sum())
    fewer = min(observed, total - observed)
    return min(1.0, 2 * float(counts[: fewer + 1].sum()))
