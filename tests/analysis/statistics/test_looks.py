"""Looks: a verdict depends on the schedule and the finished seeds alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.effects import ALPHA, Effect, estimate_effect
from analysis.statistics.looks import (
    choose_planning_look,
    count_finished,
    equivalence_p_value,
    estimate_look_mde,
    estimate_required_seeds,
    find_reached_look,
    run_look,
)
from analysis.statistics.power import compute_detection_power, compute_equivalence_power
from tests.analysis.statistics.test_effects import DIFFERENCE, make_rng, observe
from uniclip.store import DEFAULT_LOOKS, Look

SCORE = ("openmoji", "retrieval.r1")
LOOKS = (Look(num_seeds=3, level=0.01), Look(num_seeds=5, level=0.04))
VALUES = make_rng(20).normal(0.02, 0.01, 9).tolist()


def estimate(values: list[float | None], **fields: object) -> Effect:
    return estimate_effect(DIFFERENCE, observe({"a": values, "b": [0.0] * len(values)}, **fields))


def test_the_levels_of_the_default_looks_add_up() -> None:
    assert [look.num_seeds for look in DEFAULT_LOOKS] == [5, 8, 12]
    assert sum(look.level for look in DEFAULT_LOOKS) == pytest.approx(ALPHA)


def test_a_look_tests_its_seeds_alone_whatever_else_is_finished() -> None:
    at_five = run_look(estimate(VALUES[:5]), LOOKS, SCORE, margin=0.05)
    assert at_five.p == pytest.approx(
        stats.ttest_1samp(VALUES[:5], 0).pvalue * ALPHA / LOOKS[1].level
    )
    assert at_five.mean == pytest.approx(np.mean(VALUES[:5]))
    for n in (6, 7, 9):
        later = run_look(estimate(VALUES[:n]), LOOKS, SCORE, margin=0.05)
        assert (later.p, later.p_equivalence) == (at_five.p, at_five.p_equivalence)
        assert (later.reached, later.num_finished) == (LOOKS[1], n)
    at_three = run_look(estimate(VALUES[:4]), LOOKS, SCORE)
    assert (at_three.reached, at_three.next_look) == (LOOKS[0], LOOKS[1])
    assert at_three.p == pytest.approx(min(1, 5 * stats.ttest_1samp(VALUES[:3], 0).pvalue))


def test_before_the_first_look_nothing_is_tested() -> None:
    result = run_look(estimate(VALUES[:2]), LOOKS, SCORE, margin=0.05)
    assert (result.p, result.p_equivalence, result.sign, result.reached) == (None,) * 4
    assert result.next_look == LOOKS[0]
    assert not result.is_equivalent


def test_a_gap_delays_a_look_and_a_diverged_seed_does_not() -> None:
    values: list[float | None] = [*VALUES[:3], None, *VALUES[4:6]]
    gap = run_look(estimate(values), LOOKS, SCORE)
    assert (gap.num_finished, gap.reached, gap.num_tested) == (3, LOOKS[0], 3)
    diverged = run_look(estimate(values, diverged_cells=frozenset({("a", 3)})), LOOKS, SCORE)
    assert (diverged.num_finished, diverged.reached, diverged.num_tested) == (6, LOOKS[1], 4)
    assert count_finished({1, 2, 3}) == 0, "seed 0 is missing"
    assert count_finished({100, 101, 102, 104}, 100) == 3
    assert find_reached_look(LOOKS, 2) is None
    assert choose_planning_look(LOOKS, None) == LOOKS[0]


def test_equivalence_is_two_one_sided_t_tests() -> None:
    for values in (VALUES, [-v for v in VALUES]):
        expected = max(
            stats.ttest_1samp(values, 0.03, alternative="less").pvalue,
            stats.ttest_1samp(values, -0.03, alternative="greater").pvalue,
        )
        assert equivalence_p_value(np.array(values), 0.03) == pytest.approx(expected)
    assert equivalence_p_value(np.zeros(3), 0.01) == 0
    assert equivalence_p_value(np.full(3, 0.02), 0.01) == 1
    assert equivalence_p_value(np.zeros(3), 0.01, min_spread=0.01) > 0.05


def test_an_effect_within_the_margin_has_no_sign() -> None:
    """Significant and smaller than the margin: it is practically nothing."""
    small = [0.0101, 0.0099, 0.0100, 0.0102, 0.0098]
    result = run_look(estimate(small), LOOKS, SCORE, margin=0.05)
    assert (result.is_equivalent, result.sign) == (True, 0)
    assert run_look(estimate(small), LOOKS, SCORE, margin=0.005).sign == 1
    assert run_look(estimate(small), LOOKS, SCORE).sign == 1


def test_the_mde_of_a_look_has_the_interval_of_the_spread() -> None:
    effect = estimate(VALUES)
    mde = estimate_look_mde(effect, DEFAULT_LOOKS[0], DEFAULT_LOOKS, 3)
    assert mde is not None
    assert mde.num_seeds == 5
    spread, df = float(np.std(VALUES, ddof=1)), len(VALUES) - 1
    power = compute_detection_power(5, DEFAULT_LOOKS[0].level / 3, mde.value / spread)
    assert power == pytest.approx(0.8)
    assert mde.low / mde.value == pytest.approx((df / stats.chi2.ppf(0.975, df)) ** 0.5)
    assert mde.high / mde.value == pytest.approx((df / stats.chi2.ppf(0.025, df)) ** 0.5)
    assert estimate_look_mde(estimate(VALUES[:2]), DEFAULT_LOOKS[0], DEFAULT_LOOKS, 3) is None


@pytest.mark.parametrize("ratio", [0.3, 1.0, 1.7, 6.0])
def test_the_required_seeds_resolve_both_ways_with_80_percent_power(ratio: float) -> None:
    spread, family = float(np.std(VALUES, ddof=1)), 3
    effect = replace(estimate(VALUES), mean=0.0, spread=spread)

    def find_seeds(effect: Effect, margin: float) -> int | None:
        look = replace(run_look(effect, DEFAULT_LOOKS, SCORE, margin=margin), family_size=family)
        return estimate_required_seeds(replace(effect, look=look))

    required = find_seeds(effect, ratio * spread)
    assert required is not None
    level = next((k.level for k in DEFAULT_LOOKS if k.num_seeds == required), 0.015) / family
    assert compute_detection_power(required, level, ratio) >= 0.8
    assert compute_equivalence_power(required, level, ratio) >= 0.8
    if required > 12:
        assert compute_equivalence_power(required - 1, level, ratio) < 0.8
    assert (required == 5) == (ratio == 6.0)
    assert (required > 12) == (ratio < 1.7)
    assert find_seeds(effect, 1e-9) is None
    assert find_seeds(replace(effect, mean=20 * spread), ratio * spread) == 5
    assert estimate_required_seeds(effect) is None, "it was not tested"


def test_looks_count_from_the_first_seed_of_the_ablation() -> None:
    observations = observe({"a": VALUES[:4], "b": [0.0] * 4}, first_seed=100)
    seeds = (100, 101, 102, 103)
    values = {arm: dict(zip(seeds, v.values())) for arm, v in observations.values.items()}
    effect = estimate_effect(DIFFERENCE, replace(observations, seeds=seeds, values=values))
    later = run_look(effect, LOOKS, SCORE, first_seed=100)
    expected = run_look(estimate(VALUES[:4]), LOOKS, SCORE)
    assert (later.p, later.num_tested, later.num_finished) == (expected.p, 3, 4)
    assert run_look(effect, LOOKS, SCORE).reached is None
