"""Shapley values of a sweep: gains, the sample of orders, and signs that change."""

from __future__ import annotations

import pytest

from analysis.results.shapley import analyze_shapley, find_complete_seeds
from analysis.statistics.effects import Observations
from tests.helpers.designed_sweeps import make_plan
from tests.helpers.designs import ablation
from tests.helpers.fake_sweep import Truth
from uniclip.store import Arm, Plan

SEEDS = (0, 1, 2, 3)


def observe(plan: Plan, noise: float = 0.001) -> Observations:
    """Return scores: a helps with b and hurts without it; c adds 0.1."""

    def score(arm: Arm, seed: int) -> float:
        on = arm.levels
        gain = (0.2 if on["b"] else -0.1) if on["a"] else 0.0
        wobble = noise * ((hash_of(arm.name) + 7 * seed) % 5 - 2)
        return 0.3 + gain + 0.1 * on["c"] + 0.01 * seed + wobble

    values = {arm.name: {s: score(arm, s) for s in SEEDS} for arm in plan.arms}
    return Observations(seeds=SEEDS, values=values)


def hash_of(name: str) -> int:
    return sum(ord(letter) * (i + 1) for i, letter in enumerate(name))


def test_exact_values_have_a_gain_for_every_combination_and_no_sampling_error() -> None:
    plan = make_plan(ablation(3, "shapley"), Truth(seeds=SEEDS))
    details = {d.component: d for d in analyze_shapley(plan, observe(plan, noise=0.0))}
    assert set(details) == {"a", "b", "c"}
    assert all(len(d.gains) == 4 and d.sample is None for d in details.values())
    assert [g.mean for g in details["a"].gains] == pytest.approx([-0.1, -0.1, 0.2, 0.2])
    assert {g.before for g in details["a"].gains[:2]} == {(), ("c",)}
    assert {g.before for g in details["a"].gains[2:]} == {("b",), ("b", "c")}


def test_a_changing_sign_is_found_only_where_it_is_shown() -> None:
    plan = make_plan(ablation(3, "shapley"), Truth(seeds=SEEDS))
    quiet, noisy = (
        {d.component: d.sign_change for d in analyze_shapley(plan, observe(plan, noise))}
        for noise in (0.001, 0.5)
    )
    assert quiet["b"] is None, "it adds nothing without a, which is no opposite sign"
    assert quiet["c"] is None
    change = quiet["a"]
    assert change is not None
    assert change[0].mean < 0 < change[1].mean
    assert noisy == dict.fromkeys("abc")


def test_below_three_seeds_no_sign_is_shown() -> None:
    plan = make_plan(ablation(3, "shapley"), Truth(seeds=(0, 1)))
    observations = observe(plan)
    two = Observations(seeds=(0, 1), values=observations.values)
    for details in analyze_shapley(plan, two):
        assert details.sign_change is None
        assert all(gain.p is None for gain in details.gains)


def test_a_sample_has_the_gain_of_each_order() -> None:
    plan = make_plan(ablation(6, "shapley", num_orders=6), Truth(seeds=SEEDS))
    observations = observe(plan, noise=0.0)
    details = {d.component: d for d in analyze_shapley(plan, observations)}
    sample_of_a, sample_of_c = details["a"].sample, details["c"].sample
    assert sample_of_a is not None
    assert sample_of_c is not None
    assert sample_of_a.num_orders == 6
    # of an order and its reverse, b is before a in exactly one
    assert sample_of_a.sampling_se == pytest.approx(0.0, abs=1e-12)
    assert sample_of_c.sampling_se == pytest.approx(0.0, abs=1e-12)
    for name in "abc":
        contrast = next(c for c in plan.contrasts if c.name == f"shapley:{name}")
        expected = {"a": 0.05, "b": 0.15, "c": 0.1}[name]
        value = sum(w * observations.values[arm][0] for arm, w in contrast.weights.items())
        assert value == pytest.approx(expected)


def test_seeds_without_every_arm_are_left_out() -> None:
    observations = Observations(seeds=(0, 1), values={"x": {0: 1.0, 1: 1.0}, "y": {1: 2.0}})
    assert find_complete_seeds(["x", "y"], observations) == [1]
    assert find_complete_seeds(["x", "z"], observations) == []


def test_other_designs_have_no_shapley_values() -> None:
    plan = make_plan(ablation(3), Truth(seeds=SEEDS))
    assert analyze_shapley(plan, observe(plan)) == []
