"""Levels of t tests after every seed: the exact error against simulation and known cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import sequential_t
from analysis.statistics.effects import ALPHA
from analysis.statistics.sequential_t import (
    build_sequential_looks,
    calibrate_level,
    compute_rejection_probability,
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


def test_the_quadrature_has_converged_from_above(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = make_looks(range(3, 17), 0.0005)
    coarse = compute_rejection_probability(looks, two_sided=True)
    monkeypatch.setattr(sequential_t, "NUM_STATES", 1201)
    fine = compute_rejection_probability(looks, two_sided=True)
    assert 0.99 * coarse < fine <= coarse


@pytest.mark.parametrize(("first", "last", "family_size"), [(4, 16, 6), (4, 8, 1), (3, 12, 20)])
def test_every_step_of_holm_keeps_its_error(first: int, last: int, family_size: int) -> None:
    level = calibrate_level(first, last, family_size)
    assert level > ALPHA / (last - first + 1)  # more than Bonferroni's
    for size in {1, family_size // 2 or 1, family_size}:
        looks = make_looks(range(first, last + 1), level / size)
        for two_sided in (True, False):
            error = compute_rejection_probability(looks, two_sided=two_sided)
            assert error <= ALPHA / size * 1.001, (size, two_sided)


def test_diverged_seeds_do_not_increase_the_error() -> None:
    """Fewer values than seeds: the same level at other numbers of values, some of them left out."""
    level = calibrate_level(4, 12, 3) / 3
    without_two = make_looks([*range(3, 11)], level)[:1] + make_looks([*range(5, 11)], level)
    assert compute_rejection_probability(without_two, two_sided=True) <= ALPHA / 3 * 1.02
    assert compute_rejection_probability(make_looks([4, 7, 12], level), two_sided=True) < ALPHA / 3


def test_looks_at_every_seed() -> None:
    looks = build_sequential_looks(4, 7, 6)
    assert [look.num_seeds for look in looks] == [4, 5, 6, 7]
    assert {look.level for look in looks} == {calibrate_level(4, 7, 6)}
    assert build_sequential_looks(4, 4, 6)[0].level == ALPHA
