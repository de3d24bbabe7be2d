"""Effects averaged over data sets: their three intervals, and the tests over sets."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.dataset_means import (
    compute_signed_rank_p,
    estimate_mean_over_datasets,
    run_set_tests,
)
from analysis.statistics.item_clusters import compute_mean_squares
from uniclip import rng

GENERATOR = np.random.Generator(np.random.Philox(key=rng.derive_key("tests.dataset_means")))


def make_effects(table: np.ndarray) -> dict[str, list[float]]:
    """Return data set -> effects of the seeds, from a table (seeds, sets)."""
    return {f"set{k}": column for k, column in enumerate(table.T.tolist())}


def test_the_interval_for_new_seeds_is_a_t_interval_of_the_means_over_sets() -> None:
    table = GENERATOR.normal(0.5, 1, (4, 5))
    estimate = estimate_mean_over_datasets(make_effects(table))
    means = table.mean(axis=1)
    half_width = stats.t.ppf(0.975, 3) * means.std(ddof=1) / 2
    assert estimate.mean == pytest.approx(table.mean())
    assert estimate.seeds is not None
    assert estimate.seeds.low == pytest.approx(table.mean() - half_width)
    assert estimate.seeds.high == pytest.approx(table.mean() + half_width)
    assert estimate.by_dataset == pytest.approx(
        {f"set{k}": m for k, m in enumerate(table.mean(axis=0))}
    )
    assert estimate.seeds_and_items is None, "no outcomes were given"


def test_the_interval_for_new_sets_carries_seeds_and_sets() -> None:
    """The formula, written out."""
    table = GENERATOR.normal(0.5, 1, (4, 5)) + GENERATOR.normal(0, 3, (1, 5))
    table += GENERATOR.normal(0, 2, (4, 1))
    seeds = 5 * table.mean(axis=1).var(ddof=1)
    sets = 4 * table.mean(axis=0).var(ddof=1)
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    residual = (rest**2).sum() / 12
    assert residual < min(seeds, sets), "neither component is negative"
    quantile = (seeds * stats.t.ppf(0.975, 3) + sets * stats.t.ppf(0.975, 4)) / (seeds + sets)
    half_width = quantile * math.sqrt((seeds + sets - residual) / 20)
    interval = estimate_mean_over_datasets(make_effects(table)).seeds_sets_and_items
    assert interval is not None
    assert interval.low == pytest.approx(table.mean() - half_width)
    assert interval.high == pytest.approx(table.mean() + half_width)


def test_without_a_common_effect_of_seeds_it_is_the_interval_of_hartung_and_knapp() -> None:
    """With equal weights: t of the set means with K - 1 degrees of freedom."""
    set_effects = GENERATOR.normal(0, 3, 6)
    noise = GENERATOR.normal(0, 0.1, (4, 6))
    noise -= noise.mean(axis=1, keepdims=True)  # every seed has the same mean over sets
    table = set_effects + noise
    estimate = estimate_mean_over_datasets(make_effects(table))
    means = table.mean(axis=0)
    half_width = stats.t.ppf(0.975, 5) * means.std(ddof=1) / math.sqrt(6)
    assert estimate.seeds_sets_and_items is not None
    assert estimate.seeds_sets_and_items.high == pytest.approx(means.mean() + half_width)


def test_items_add_their_variance_to_that_of_seeds() -> None:
    """Against the formula, written out for two sets with known outcomes."""
    outcomes = [GENERATOR.normal(0.2, 1, (3, n)) + GENERATOR.normal(0, 2, (1, n)) for n in (30, 50)]
    table = np.stack([d.mean(axis=1) for d in outcomes], axis=1)
    squares = {f"set{k}": compute_mean_squares(d) for k, d in enumerate(outcomes)}
    estimate = estimate_mean_over_datasets(make_effects(table), squares)
    parts = [(table.mean(axis=1).var(ddof=1) / 3, 2)]
    for d in outcomes:
        n = d.shape[1]
        of_items = 3 * d.mean(axis=0).var(ddof=1)
        rest = d - d.mean(axis=0) - d.mean(axis=1, keepdims=True) + d.mean()
        residual = (rest**2).sum() / (2 * (n - 1))
        assert of_items > residual
        parts.append(((of_items - residual) / (3 * n) / 4, n - 1))
    variance = sum(part for part, _ in parts)
    quantile = sum(part * stats.t.ppf(0.975, df) for part, df in parts) / variance
    half_width = quantile * math.sqrt(variance)
    assert estimate.seeds_and_items is not None
    assert estimate.seeds_and_items.high == pytest.approx(estimate.mean + half_width)
    assert estimate.seeds is not None
    one_missing = {**squares, "set1": None}
    partial = estimate_mean_over_datasets(make_effects(table), one_missing)
    assert partial.seeds_and_items is None, "the items of one set are unknown"


@pytest.mark.parametrize(("num_seeds", "num_sets"), [(2, 5), (1, 5), (3, 2)])
def test_too_few_seeds_or_sets_have_no_interval(num_seeds: int, num_sets: int) -> None:
    estimate = estimate_mean_over_datasets(make_effects(np.ones((num_seeds, num_sets))))
    assert estimate.seeds_sets_and_items is None
    assert (estimate.seeds is None) == (num_seeds < 3)


def test_the_set_that_decides_is_named() -> None:
    table = np.array([[0.1, -0.2, 3.0, 0.1]] * 3)
    estimate = estimate_mean_over_datasets(make_effects(table))
    assert estimate.most_influential == "set2"
    assert estimate.without_one.low == pytest.approx(0.0, abs=1e-12)
    assert estimate.without_one.high == pytest.approx(3.2 / 3)


def test_signs_and_ranks_are_tested_exactly() -> None:
    values = GENERATOR.normal(0.4, 1, 11)
    tests = run_set_tests(np.append(values, 0.0))
    assert tests.num_positive == (values > 0).sum()
    assert tests.num_positive + tests.num_negative == 11, "a set without an effect has no sign"
    assert tests.sign_p == pytest.approx(stats.binomtest(tests.num_positive, 11).pvalue)
    exact = stats.wilcoxon(values, method="exact")
    assert tests.signed_rank_p == pytest.approx(exact.pvalue)
    nothing = run_set_tests(np.zeros(4))
    assert (nothing.sign_p, nothing.signed_rank_p, nothing.num_positive) == (1.0, 1.0, 0)


def test_tied_ranks_are_counted_over_all_signs() -> None:
    values = np.array([0.1, 0.1, -0.2, 0.3, 0.3, 0.3, 0.4])
    ranks = stats.rankdata(np.abs(values))
    sums = [ranks[np.array(s)].sum() for s in product((False, True), repeat=7)]
    observed = ranks[values > 0].sum()
    fewer = min(observed, ranks.sum() - observed)
    expected = min(1.0, 2 * float(np.mean(np.array(sums) <= fewer)))
    assert compute_signed_rank_p(values) == pytest.approx(expected)
