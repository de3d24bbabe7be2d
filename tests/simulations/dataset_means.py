"""Means over data sets: coverage of their intervals, and errors of the tests over sets.

Effects of S seeds on K data sets are drawn without a mean effect: a part that a seed has on all
sets, a part of each set, and the rest, whose standard deviation differs between sets. All are in
units of the median standard deviation of the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.statistics.dataset_means import estimate_mean_over_datasets
from analysis.statistics.item_clusters import compute_mean_squares
from tests.simulations.proportions import Rate
from tests.simulations.verdict_rates import Floats

SPREAD_OF_RESTS = 0.5
"""Standard deviation of the logarithm of the standard deviations of the rest."""
ITEMS = (60, 400)
"""Range of the number of test items of a data set."""


@dataclass(frozen=True)
class SetModel:
    """Standard deviations of the parts of an effect."""

    sets: float
    seeds: float


@dataclass(frozen=True)
class SetRates:
    """Rates of one model."""

    interval: Rate
    """How often the interval for new seeds, sets and items covers."""
    der_simonian_laird: Rate
    hartung_knapp: Rate
    sign_errors: Rate
    """How often the sign test is significant at 5 %."""
    rank_errors: Rate


def draw_effects(g: np.random.Generator, model: SetModel, num_seeds: int, num_sets: int) -> Floats:
    """Return effects (seeds, sets) of fresh seeds and sets, whose expectation is 0."""
    spreads = np.exp(SPREAD_OF_RESTS * g.normal(size=num_sets))
    effects = (
        model.sets * g.normal(size=num_sets)
        + model.seeds * g.normal(size=(num_seeds, 1))
        + spreads * g.normal(size=(num_seeds, num_sets))
    )
    return np.asarray(effects, np.float64)


def simulate_set_rates(
    g: np.random.Generator, model: SetModel, num_seeds: int, num_sets: int, sweeps: int
) -> SetRates:
    """Return the rates of one model."""
    counts = np.zeros(5, dtype=int)
    for _ in range(sweeps):
        table = draw_effects(g, model, num_seeds, num_sets)
        estimate = estimate_mean_over_datasets({str(k): t for k, t in enumerate(table.T.tolist())})
        interval, tests = estimate.seeds_sets_and_items, estimate.tests
        assert interval is not None
        counts += (
            not interval.excludes_zero,
            *cover_by_meta_analysis(table),
            tests.sign_p < 0.05,
            tests.signed_rank_p < 0.05,
        )
    return SetRates(*(Rate(int(count), sweeps) for count in counts))


def cover_by_meta_analysis(table: Floats) -> tuple[bool, bool]:
    """Return whether the intervals of two usual methods contain 0: DerSimonian and Laird's, and
    Hartung and Knapp's with the weights of the former.

    The variance of the effect on a set is estimated from its seeds.
    """
    num_seeds, num_sets = table.shape
    means, variances = table.mean(axis=0), table.var(axis=0, ddof=1) / num_seeds
    weights = 1 / variances
    q = float(weights @ (means - weights @ means / weights.sum()) ** 2)
    scale = weights.sum() - (weights**2).sum() / weights.sum()
    between = max(0.0, (q - (num_sets - 1)) / scale)
    weights = 1 / (variances + between)
    mean = float(weights @ means / weights.sum())
    normal_error = float(special.ndtri(0.975)) / np.sqrt(weights.sum())
    spread = float(weights @ (means - mean) ** 2) / (num_sets - 1) / weights.sum()
    t_error = float(special.stdtrit(num_sets - 1, 0.975)) * np.sqrt(spread)
    return bool(abs(mean) <= normal_error), bool(abs(mean) <= t_error)


def simulate_item_intervals(
    g: np.random.Generator, num_seeds: int, num_sets: int, seed_sd: float, sweeps: int
) -> tuple[Rate, Rate]:
    """Return how often the intervals for new seeds, and for new seeds and items, contain the mean
    effect on the given sets, when seeds and items are fresh."""
    covered = np.zeros(2, dtype=int)
    sizes = g.integers(*ITEMS, num_sets)
    set_effects = g.normal(size=num_sets)
    for _ in range(sweeps):
        seeds = seed_sd * g.normal(size=(num_seeds, 1))
        outcomes = [
            effect + seeds + 0.5 * g.normal(size=size) + 0.5 * g.normal(size=(num_seeds, size))
            for effect, size in zip(set_effects, sizes)
        ]
        estimate = estimate_mean_over_datasets(
            {str(k): d.mean(axis=1).tolist() for k, d in enumerate(outcomes)},
            {str(k): compute_mean_squares(d) for k, d in enumerate(outcomes)},
        )
        for i, interval in enumerate((estimate.seeds, estimate.seeds_and_items)):
            assert interval is not None
            covered[i] += interval.low <= set_effects.mean() <= interval.high
    return Rate(int(covered[0]), sweeps), Rate(int(covered[1]), sweeps)
