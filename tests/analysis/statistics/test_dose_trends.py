"""Dose trends: the monotone fit against a search, and Page's test against an enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from analysis.statistics.dose_trends import compute_page_p, estimate_dose_trend


def test_a_monotone_curve_is_its_own_fit() -> None:
    trend = estimate_dose_trend(np.array([[3.0, 2.0, 1.0], [2.0, 2.0, 0.0]]))
    assert trend.fitted == trend.means == (2.5, 2.0, 0.5)
    assert not trend.is_rising
    assert trend.is_monotone


def test_a_constant_curve_neither_rises_nor_falls() -> None:
    trend = estimate_dose_trend(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    assert trend.is_rising is None
    assert trend.fitted == trend.means == (2.0, 2.0, 2.0)


def test_the_fit_is_the_nearest_monotone_curve() -> None:
    means = np.array([0.0, 3.0, 1.0, 4.0])
    trend = estimate_dose_trend(means[None])
    assert trend.is_rising
    assert not trend.is_monotone
    assert trend.fitted == pytest.approx((0, 2, 2, 4))
    grid = itertools.combinations_with_replacement(np.linspace(0, 4, 9), 4)
    best = min(((np.array(c) - means) ** 2).sum() for c in grid)
    assert ((np.array(trend.fitted) - means) ** 2).sum() == pytest.approx(best)


def test_the_p_value_of_page_counts_all_rankings() -> None:
    """Three seeds and three doses: 216 equally likely rankings."""
    values = np.array([[1.0, 2.0, 3.0], [5.0, 7.0, 9.0], [0.1, 0.3, 0.2]])

    def compute_statistic(ranks: tuple[tuple[int, ...], ...]) -> int:
        return sum((i + 1) * rank for seed in ranks for i, rank in enumerate(seed))

    observed = compute_statistic(((1, 2, 3), (1, 2, 3), (1, 3, 2)))
    rankings = list(itertools.product(itertools.permutations((1, 2, 3)), repeat=3))
    share = np.mean([compute_statistic(r) >= observed for r in rankings])
    assert compute_page_p(values) == pytest.approx(2 * share)
    assert compute_page_p(values[:, ::-1]) == pytest.approx(2 * share), "both directions"


@pytest.mark.parametrize("shape", [(1, 4), (5, 2)])
def test_a_trend_of_one_seed_or_two_doses_is_not_tested(shape: tuple[int, int]) -> None:
    assert compute_page_p(np.random.default_rng(0).random(shape)) is None


def test_no_trend_has_a_p_value_of_at_most_1() -> None:
    assert compute_page_p(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])) == 1.0
