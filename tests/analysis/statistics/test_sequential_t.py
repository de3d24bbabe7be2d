"""Levels of t tests after every seed: the exact error against simulation and known cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import sequential_t
from analysis.statistics.effects import ALPHA
from analysis.statistics.sequential_t import (
    adjust_p_values,
    build_sequential_looks,
    compute_rejection_probability,
    compute_step_level,
    find_level_factor,
)
from tests.analysis.statistics.test_effects import make_rng
from uniclip.store import Look

SAMPLES = 40_000


def make_looks(seeds: range | list[int], level: float) -> list[Look]:
    return [Look(num_seeds=n, level=level) for n in seeds]


def simulate_rejections(looks: list[Look], *, two_sided: bool) -> int:
    values = make_rng(31).normal(size=(SAMPLES, looks[-1].num_seeds))
    alternative = "two-sided" if two_sided else "greater"
    rejected = np.zeros(SAMPLES, bool)
    for look in looks:
        result = stats.ttest_1samp(values[:, : look.num_seeds], 0, axis=1, alternative=alternative)
        rejected |= result.pvalue < look.level
    return int(rejected.sum())


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize(
    "looks",
    [
        make_looks(range(3, 13), 0.02),
        make_looks(range(4, 9), 0.005),
        [
            Look(num_seeds=3, level=0.01),
            Look(num_seeds=6, level=0.002),
            Look(num_seeds=11, level=0.04),
        ],
    ],
)
def test_the_probability_is_that_of_a_simulation(looks: list[Look], two_sided: bool) -> None:
    probability = compute_rejection_probability(looks, two_sided=two_sided)
    count = simulate_rejections(looks, two_sided=two_sided)
    interval = stats.binomtest(count, SAMPLES).proportion_ci(0.999)
    assert interval.low < probability < interval.high


def test_one_look_has_its_level_and_looks_at_most_their_sum() -> None:
    assert compute_rejection_probability(make_looks([5], 0.03), two_sided=True) == pytest.approx(
        0.03, rel=1e-6
    )
    several = compute_rejection_probability(make_looks(range(3, 9), 0.001), two_sided=True)
    assert 0.001 < several < 6 * 0.001


def test_the_quadrature_has_converged(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = make_looks(range(3, 17), 0.005)
    coarse = compute_rejection_probability(looks, two_sided=True)
    monkeypatch.setattr(sequential_t, "NUM_STATES", 801)
    monkeypatch.setattr(sequential_t, "NUM_NODES", 200)
    sequential_t._leggauss.cache_clear()
    fine = compute_rejection_probability(looks, two_sided=True)
    sequential_t._leggauss.cache_clear()
    assert fine == pytest.approx(coarse, rel=5e-3)


@pytest.mark.parametrize(("first", "last"), [(4, 16), (4, 8), (3, 12)])
@pytest.mark.parametrize("num_tests", [1, 3, 20])
def test_every_step_of_holm_has_its_error(first: int, last: int, num_tests: int) -> None:
    looks = build_sequential_looks(first, last)
    assert sum(look.level for look in looks) > ALPHA  # more than Bonferroni's
    for two_sided in (True, False):
        step = [
            replace(k, level=compute_step_level(k, looks, num_tests, two_sided=two_sided))
            for k in looks
        ]
        error = compute_rejection_probability(step, two_sided=two_sided)
        assert error == pytest.approx(ALPHA / num_tests, rel=0.01)


def test_a_p_value_is_the_error_of_the_sequence_that_just_rejects() -> None:
    looks = build_sequential_looks(4, 10)
    for look in (looks[0], looks[3]):
        for two_sided in (True, False):
            level = compute_step_level(look, looks, 6, two_sided=two_sided)
            p_values = np.array([0.0, level, 2 * level, 0.9])
            adjusted = adjust_p_values(p_values, look.num_seeds, looks, two_sided=two_sided)
            assert adjusted is not None
            assert adjusted[1] == pytest.approx(ALPHA / 6, rel=1e-3)
            assert adjusted[0] == 0
            assert adjusted[1] < adjusted[2] < adjusted[3] == 1
            assert (adjusted >= p_values).all()


def test_p_values_of_all_sizes_increase_and_are_below_the_sum_of_bonferroni() -> None:
    looks = build_sequential_looks(4, 16)
    p_values = np.geomspace(1e-13, 0.12, 200)
    adjusted = adjust_p_values(p_values, 9, looks)
    assert adjusted is not None
    assert (np.diff(adjusted) > 0).all()
    bonferroni = p_values * sum(look.level for look in looks) / looks[5].level
    assert (adjusted < 1.0001 * bonferroni).all()
    assert adjusted[100] < 0.9 * bonferroni[100]


def test_diverged_seeds_add_no_test() -> None:
    """The p-value depends on the number of values alone; three values are at no look."""
    looks = build_sequential_looks(4, 12)
    assert adjust_p_values(np.array([1e-6]), 3, looks) is None
    without_some = [looks[0], looks[3], looks[8]]
    assert compute_rejection_probability(without_some, two_sided=True) < ALPHA


def test_looks_at_every_seed() -> None:
    looks = build_sequential_looks(4, 9)
    assert [look.num_seeds for look in looks] == [4, 5, 6, 7, 8, 9]
    assert looks[-1].level / looks[0].level == pytest.approx(1.5, rel=1e-3)
    assert all(look.is_joint for look in looks)
    assert build_sequential_looks(4, 4) == (Look(num_seeds=4, level=ALPHA),)


def test_levels_of_another_error() -> None:
    looks = build_sequential_looks(4, 9)
    factor = find_level_factor(looks, 0.01)
    strict = [replace(look, level=look.level * factor) for look in looks]
    error = compute_rejection_probability(strict, two_sided=True)
    assert error == pytest.approx(0.01, rel=5e-3)
