"""Designs of orders: cumulative, paths, and Shapley values against their definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from ablations import designs
from ablations.designs import orders
from ablations.designs.orders import MAX_EXACT, list_orders
from ablations.schema import Ablation
from tests.helpers.designs import ablation, contrasts, planted, value
from uniclip.errors import UserError


def draw_scores(it: Ablation, seed: int) -> dict[str, float]:
    return dict(zip(designs.build_arms(it), np.random.default_rng(seed).random(64)))


def compute_shapley(it: Ablation, name: str, scores: dict[str, float]) -> float:
    """Return the mean, over all orders that the rules allow, of what the component adds."""
    arms = {
        frozenset(it.components) - set(arm.components_off): scores[n]
        for n, arm in designs.build_arms(it).items()
    }
    gains = []
    for order in itertools.permutations(it.components):
        if all(order.index(r) < order.index(n) for n, rs in it.requires.items() for r in rs):
            before = frozenset(order[: order.index(name)])
            gains.append(arms[before | {name}] - arms[before])
    return math.fsum(gains) / len(gains)


def test_cumulative_adds_components_in_their_order() -> None:
    it = ablation(4, "cumulative")
    assert list(designs.build_arms(it)) == ["full", "no-d", "on-1100", "only-a", "none"]
    found = contrasts(it)
    assert [c.component for c in found.values() if c.primary] == list("abcd")
    assert found["on-1100 - only-a"].label == "B, added after A"
    scores = planted(it, {("a",): 0.1, ("b",): 0.2, ("a", "b"): 0.05})
    assert value(found["on-1100 - only-a"], scores) == pytest.approx(0.25)
    assert value(found["full - none"], scores) == pytest.approx(0.35)


def test_another_order_can_be_declared() -> None:
    it = ablation(3, "cumulative", orders=(("c", "a", "b"),))
    assert list(designs.build_arms(it)) == ["full", "no-b", "only-c", "none"]


@pytest.mark.parametrize(
    ("design", "declared", "match"),
    [
        ("paths", (("a", "b"),), "orders: a, b must be all of a, b, c"),
        ("paths", (("a", "b", "b"),), "each once"),
        ("cumulative", (("a", "b", "c"), ("c", "b", "a")), "one order; use design: paths"),
    ],
)
def test_orders_that_do_not_fit_are_refused(
    design: str, declared: tuple[tuple[str, ...], ...], match: str
) -> None:
    with pytest.raises(UserError, match=match):
        designs.build_arms(ablation(3, design, orders=declared))


def test_paths_average_a_component_added_early_and_late() -> None:
    it = ablation(3, "paths")
    assert list_orders(it) == (("a", "b", "c"), ("c", "b", "a"))
    assert list(designs.build_arms(it)) == ["full", "no-c", "no-a", "only-a", "only-c", "none"]
    scores = planted(it, {("a",): 0.1, ("a", "b"): 0.06})
    found = contrasts(it)
    assert value(found["main:a"], scores) == pytest.approx(0.13)
    assert value(found["main:b"], scores) == pytest.approx(0.03)
    means = [value(found[f"main:{n}"], scores) for n in "abc"]
    assert math.fsum(means) == pytest.approx(value(found["full - none"], scores))


@pytest.mark.parametrize("k", [1, 2, 3, 4, MAX_EXACT])
def test_exact_shapley_values_are_means_over_all_orders(k: int) -> None:
    it = ablation(k, "shapley")
    assert len(designs.build_arms(it)) == 2**k
    assert list_orders(it) == ()
    scores, found = draw_scores(it, k), contrasts(it)
    values = {n: value(found[f"shapley:{n}"], scores) for n in it.components}
    for name, shapley_value in values.items():
        assert shapley_value == pytest.approx(compute_shapley(it, name, scores))
    if k > 1:
        assert math.fsum(values.values()) == pytest.approx(value(found["full - none"], scores))


def test_shapley_interactions_are_what_two_do_together() -> None:
    """With effects of at most two components the index is the planted interaction."""
    it = ablation(4, "shapley")
    scores = planted(it, {("a",): 0.1, ("a", "b"): 0.06, ("c", "d"): -0.02})
    found = contrasts(it)
    indices = {n: value(c, scores) for n, c in found.items() if c.kind == "interaction"}
    assert len(indices) == 6
    planted_pairs = {"interaction:a*b": 0.06, "interaction:c*d": -0.02}
    for name, index in indices.items():
        assert index == pytest.approx(planted_pairs.get(name, 0.0)), name
    assert value(found["shapley:a"], scores) == pytest.approx(0.13)


def test_shapley_values_under_requirements_are_means_over_the_allowed_orders() -> None:
    it = ablation(4, "shapley", requires={"b": ("a",), "d": ("b",)})
    assert len(designs.build_arms(it)) == 8
    scores, found = draw_scores(it, 3), contrasts(it)
    for name in it.components:
        expected = compute_shapley(it, name, scores)
        assert value(found[f"shapley:{name}"], scores) == pytest.approx(expected)


def test_components_that_require_one_another_have_no_order() -> None:
    it = ablation(6, "shapley", requires={"a": ("b",), "b": ("a",)})
    with pytest.raises(UserError, match="require one another in a circle"):
        designs.build_arms(it)


def test_sampled_orders_come_with_their_reverse_and_are_extended_by_more() -> None:
    few, more = (list_orders(ablation(6, "shapley", num_orders=n)) for n in (4, 8))
    assert more[:4] == few
    assert len(set(more)) == 8
    assert all(first == second[::-1] for first, second in zip(more[::2], more[1::2]))
    assert len(designs.build_arms(ablation(6, "shapley", num_orders=4))) <= 4 * 5 + 2


def test_sampled_shapley_values_add_up_and_approach_the_exact_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orders, "MAX_EXACT", 3)
    few, every = (ablation(4, "shapley", num_orders=n) for n in (4, 24))
    for it in (few, every):
        scores, found = draw_scores(it, 6), contrasts(it)
        values = {n: value(found[f"shapley:{n}"], scores) for n in it.components}
        assert math.fsum(values.values()) == pytest.approx(value(found["full - none"], scores))
    for name, shapley_value in values.items():  # 24 orders of 4 components are all of them
        assert shapley_value == pytest.approx(compute_shapley(every, name, scores))
    assert not [c for c in found.values() if c.kind == "interaction"]


def test_sampled_orders_are_uniform() -> None:
    """Each component is first equally often: a chi-squared statistic with 5 degrees of freedom."""
    sample = list_orders(ablation(6, "shapley", num_orders=300))
    counts = np.array([sum(o[0] == n for o in sample) for n in "abcdef"])
    assert ((counts - 50) ** 2 / 50).sum() < 20.5  # 99.9 % of uniform samples


def test_sampled_orders_keep_the_rules() -> None:
    rules = {"c": ("a",), "d": ("b",)}
    orders_with_rules = list_orders(ablation(6, "shapley", requires=rules))
    assert len(set(orders_with_rules)) == 8
    for order in orders_with_rules:
        assert order.index("a") < order.index("c")
        assert order.index("b") < order.index("d")
    chain = {n: (before,) for before, n in itertools.pairwise("abcdefgh")}
    with pytest.raises(UserError, match="b requires a: too few orders.*use design: cumulative"):
        list_orders(ablation(8, "shapley", requires=chain, num_orders=2))
