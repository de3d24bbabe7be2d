"""Uncertainty of a contrast that is due to the choice of test samples, which come in clusters.

Variants of one emoji are not independent samples: a model that recognizes one recognizes most of
them. A standard error that takes each image as an independent one is too small; here the sampled
unit is the cluster (Liang and Zeger, Biometrika 1986; Miller, arXiv:2411.00640, 2024, for paired
differences of language models). A sample without a cluster is one of its own.

The interval for new seeds and new clusters rests on the two-way random-effects model

    d(s, g) = mu + seed(s) + cluster(g) + residual(s, g),

d(s, g) being the sum over the samples of cluster g of the contrast at seed s, in units of the mean
cluster size; seeds and clusters are crossed, since all seeds are evaluated on the same samples. Its
variance components are estimated by the mean squares of the analysis of variance, with negative
ones set to 0 (Searle, Casella and McCulloch, Variance Components, 1992, chapter 4), and the degrees
of freedom by Satterthwaite (Biometrics Bulletin 1946).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.statistics.effects import CONFIDENCE

Floats = NDArray[np.float64]
Clusters = NDArray[np.generic]
"""(n,): samples with equal values are of one cluster."""
MIN_CLUSTERS = 2


@dataclass(frozen=True, kw_only=True)
class ItemUncertainty:
    """Uncertainty of the mean contrast over test samples and seeds."""

    num_samples: int
    num_clusters: int
    mean: float
    """Over samples and seeds."""
    item_se: float
    """Standard error due to the choice of clusters alone, for these seeds."""
    total_se: float | None
    """Standard error due to seeds and clusters; None for a single seed."""
    degrees_of_freedom: float | None = None
    """Of `total_se`."""
    low: float | None = None
    high: float | None = None
    """95 % interval for new seeds and new clusters; None for a single seed."""


def compute_clustered_se(values: Floats, clusters: Clusters | None = None) -> float | None:
    """Return the cluster-robust standard error of the mean of values (n,).

    V = G / (G - 1) sum over clusters (sum of (value - mean))^2 / n^2, for G clusters. With a
    cluster for each sample it is the usual standard error of a mean. None below two clusters.
    """
    sums = _sum_by_cluster(values[None] - values.mean(), clusters)[0]
    if len(sums) < MIN_CLUSTERS:
        return None
    num_clusters = len(sums)
    return float(math.sqrt(num_clusters / (num_clusters - 1) * (sums @ sums)) / len(values))


def estimate_item_uncertainty(
    weights: Mapping[str, float],
    outcomes: Mapping[str, Mapping[int, Floats]],
    clusters: Clusters | None = None,
) -> ItemUncertainty | None:
    """Estimate the uncertainty of a contrast of arms, paired by sample and by seed.

    Args:
        weights: arm -> weight.
        outcomes: arm -> seed -> outcomes of the test samples, shape (n,); their mean is the score.
        clusters: (n,) cluster of each sample; None = each is its own.

    Returns:
        The uncertainty; None if an arm has no outcomes, the numbers of samples (or clusters)
        differ, or there are fewer than two clusters.
    """
    if not all(arm in outcomes for arm in weights):
        return None
    seeds = sorted(set.intersection(*(set(outcomes[arm]) for arm in weights)))
    if not seeds or len({len(outcomes[a][s]) for a in weights for s in seeds}) != 1:
        return None
    differences = np.stack([sum(w * outcomes[a][s] for a, w in weights.items()) for s in seeds])
    if clusters is not None and len(clusters) != differences.shape[1]:
        return None
    return estimate_two_way(differences, clusters)


def estimate_two_way(
    differences: Floats, clusters: Clusters | None = None
) -> ItemUncertainty | None:
    """Estimate the two-way random-effects model of the module.

    Args:
        differences: (seeds, n) contrast of each seed and sample.
        clusters: (n,) cluster of each sample; None = each is its own.

    Returns:
        The uncertainty; None below two clusters.
    """
    num_seeds, num_samples = differences.shape
    mean = float(differences.mean())
    item_se = compute_clustered_se(differences.mean(axis=0), clusters)
    if item_se is None:
        return None
    num_clusters = num_samples if clusters is None else len(np.unique(clusters))
    uncertainty = ItemUncertainty(
        num_samples=num_samples,
        num_clusters=num_clusters,
        mean=mean,
        item_se=item_se,
        total_se=None,
    )
    if num_seeds < 2:
        return uncertainty
    variance, degrees_of_freedom = _estimate_variance(compute_mean_squares(differences, clusters))
    total_se = math.sqrt(variance)
    half_width = float(special.stdtrit(degrees_of_freedom, 0.5 + CONFIDENCE / 2)) * total_se
    return ItemUncertainty(
        num_samples=num_samples,
        num_clusters=num_clusters,
        mean=mean,
        item_se=item_se,
        total_se=total_se,
        degrees_of_freedom=degrees_of_freedom,
        low=mean - half_width,
        high=mean + half_width,
    )


@dataclass(frozen=True, kw_only=True)
class MeanSquares:
    """Mean squares of the two-way analysis of variance of a contrast, and its size."""

    num_seeds: int
    num_clusters: int
    seed: float
    cluster: float
    residual: float

    @property
    def seed_df(self) -> int:
        """Degrees of freedom of `seed`."""
        return self.num_seeds - 1

    @property
    def cluster_df(self) -> int:
        """Degrees of freedom of `cluster`."""
        return self.num_clusters - 1

    @property
    def residual_df(self) -> int:
        """Degrees of freedom of `residual`."""
        return self.seed_df * self.cluster_df


def compute_mean_squares(differences: Floats, clusters: Clusters | None = None) -> MeanSquares:
    """Return the mean squares of a contrast (seeds, n) over seeds and clusters, two or more each.

    They are in units of the mean cluster size, so that the mean over clusters is that over samples.
    """
    num_seeds, num_samples = differences.shape
    sums = _sum_by_cluster(differences - differences.mean(), clusters)
    num_clusters = sums.shape[1]
    table = sums * (num_clusters / num_samples)
    seed_means, cluster_means = table.mean(axis=1), table.mean(axis=0)
    residuals = table - seed_means[:, None] - cluster_means + table.mean()
    return MeanSquares(
        num_seeds=num_seeds,
        num_clusters=num_clusters,
        seed=num_clusters * float(seed_means.var(ddof=1)),
        cluster=num_seeds * float(cluster_means.var(ddof=1)),
        residual=float((residuals**2).sum()) / ((num_seeds - 1) * (num_clusters - 1)),
    )


def _estimate_variance(squares: MeanSquares) -> tuple[float, float]:
    """Return the variance of the mean of a table (seeds, clusters), and its degrees of freedom."""
    terms = _select_terms(
        (squares.seed, squares.seed_df),
        (squares.cluster, squares.cluster_df),
        (squares.residual, squares.residual_df),
    )
    total = math.fsum(square for square, _ in terms)
    if total == 0:
        return 0.0, float(squares.seed_df)
    degrees_of_freedom = total**2 / math.fsum(square**2 / df for square, df in terms)
    smallest_df = float(min(squares.seed_df, squares.cluster_df))
    variance = total / (squares.num_seeds * squares.num_clusters)
    return variance, max(degrees_of_freedom, smallest_df)


def _select_terms(
    seed: tuple[float, int], cluster: tuple[float, int], residual: tuple[float, int]
) -> Sequence[tuple[float, int]]:
    """Return the mean squares, with their signs and degrees of freedom, that add up to the variance
    of the mean times the size of the table; a negative variance component is 0."""
    has_seed_part, has_cluster_part = seed[0] > residual[0], cluster[0] > residual[0]
    if has_seed_part and has_cluster_part:
        return seed, cluster, (-residual[0], residual[1])
    if has_seed_part:
        return (seed,)
    return (cluster,) if has_cluster_part else (residual,)


def _sum_by_cluster(values: Floats, clusters: Clusters | None) -> Floats:
    """Return the sums (..., G) of values (seeds, n) over the samples of each cluster."""
    if clusters is None:
        return values
    names, index = np.unique(clusters, return_inverse=True)
    return np.stack([np.bincount(index, row, minlength=len(names)) for row in values])
