"""The intervals cover, the verdicts err at their stated rate, and nothing is claimed too early."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.effects import (
    ALPHA,
    Observations,
    compute_test_set_se,
    estimate_effect,
    estimate_primary_effects,
    find_tied_for_best,
    holm_adjust,
    paired_t,
    standardized_mde,
)
from tests.helpers import fake_sweep

SIMULATIONS = 200_000


def draws(*parts: int) -> np.random.Generator:
    return np.random.Generator(
        np.random.Philox(key=sum(p * 1009**i for i, p in enumerate(parts, 1)))
    )


def observed(values: dict[str, list[float | None]], **facts: object) -> Observations:
    """Values by arm, in the order of seeds 0, 1, ...; None: no run."""
    count = max(len(v) for v in values.values())
    at = {a: {s: x for s, x in enumerate(v) if x is not None} for a, v in values.items()}
    return Observations(seeds=tuple(range(count)), values=at, **facts)  # type: ignore[arg-type]


DIFFERENCE = {"a": 1.0, "b": -1.0}


# ---- coverage and false verdicts (Monte-Carlo error below 0.05 %) -------------------------------


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("shared", [0.0, 3.0])
def test_intervals_cover_at_their_stated_rate(seeds: int, shared: float) -> None:
    """Paired values of two arms whose seeds are as noisy as they like."""
    g = draws(1, seeds, int(shared))
    of_seed = shared * g.normal(size=(SIMULATIONS, seeds))
    a = 0.7 + of_seed + g.normal(size=of_seed.shape)
    b = of_seed + 2 * g.normal(size=of_seed.shape)
    mean, half, p, _ = paired_t(a - b)
    assert abs(np.mean(np.abs(mean - 0.7) <= half) - 0.95) < 0.003
    assert np.array_equal(p < ALPHA, np.abs(mean) > half)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_crossed_contrasts_cover_the_planted_effects(seeds: int) -> None:
    """2 x 2 x 2 arms with main effects and one interaction; each contrast recovers its own."""
    planted = {"awareness": 0.3, "mp_nce": 0.0, "domain_similarity": -0.1}
    together = 0.2
    g, count = draws(2, seeds), 40_000
    of_seed = g.normal(size=(count, seeds))
    scores = {}
    for arm in fake_sweep.arms()[:8]:
        sign = {n: 1 if on else -1 for n, on in arm.levels.items()}
        level = sum(e * sign[n] / 2 for n, e in planted.items())
        level += together * sign["awareness"] * sign["mp_nce"] / 2
        scores[arm.name] = level + of_seed + 0.3 * g.normal(size=of_seed.shape)
    for contrast in fake_sweep.contrasts()[:4]:
        value = sum(w * scores[a] for a, w in contrast.weights.items())
        truth = planted[contrast.component] if contrast.component else together
        mean, half, _, _ = paired_t(np.asarray(value))
        assert abs(mean.mean() - truth) < 0.003
        assert abs(np.mean(np.abs(mean - truth) <= half) - 0.95) < 0.006


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_without_effect_a_family_errs_at_the_stated_rate(seeds: int) -> None:
    """Three primary contrasts of no effect: any claim in at most 5 %, and not in far fewer."""
    values = draws(3, seeds).normal(size=(SIMULATIONS, 3, seeds))
    p = paired_t(values)[2]
    assert abs(np.mean(p[:, 0] < ALPHA) - ALPHA) < 0.002
    any_claim = np.mean(p.min(1) < ALPHA / 3)  # Holm claims something when its first step does
    assert any_claim <= ALPHA + 0.002
    assert any_claim > 0.045


def test_false_verdicts_through_the_whole_path() -> None:
    """The same of `family` itself: crossed arms without any effect, three seeds."""
    contrasts = [c.weights for c in fake_sweep.contrasts()[:3]]
    names = [a.name for a in fake_sweep.arms()[:8]]
    g, trials, wrong = draws(4), 1500, 0
    for _ in range(trials):
        table = g.normal(size=(3, 1)) + g.normal(size=(3, 8))
        values = {n: dict(enumerate(table[:, i].tolist())) for i, n in enumerate(names)}
        found = estimate_primary_effects(contrasts, Observations(seeds=(0, 1, 2), values=values))
        wrong += any(e.sign for e in found)
    assert 0.03 < wrong / trials < 0.07  # 5 % +- 3.5 standard errors


@pytest.mark.parametrize(("seeds", "alpha"), [(3, 0.05), (3, 0.05 / 3), (5, 0.05), (10, 0.05 / 6)])
def test_the_detectable_effect_is_found_four_times_in_five(seeds: int, alpha: float) -> None:
    delta = standardized_mde(seeds, alpha)
    values = delta + draws(5, seeds).normal(size=(SIMULATIONS, seeds))
    assert abs(np.mean(paired_t(values)[2] < alpha) - 0.8) < 0.005


# ---- rules ---------------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    assert holm_adjust([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm_adjust([0.9, 0.8]) == [1.0, 1.0]
    assert holm_adjust([]) == []


def test_an_effect_is_scipys_paired_t() -> None:
    a, b = [0.5, 0.62, 0.57, 0.61], [0.45, 0.52, 0.55, 0.5]
    found = estimate_effect(DIFFERENCE, observed({"a": a, "b": b}))
    reference = stats.ttest_rel(a, b)
    low, high = reference.confidence_interval(0.95)
    assert (found.mean, found.p) == pytest.approx((np.mean(a) - np.mean(b), reference.pvalue))
    assert (found.low, found.high) == pytest.approx((low, high))
    unpaired = np.var(a, ddof=1) + np.var(b, ddof=1)
    assert found.variance_ratio == pytest.approx(np.var(np.subtract(a, b), ddof=1) / unpaired)


def test_two_seeds_give_dots_and_no_interval() -> None:
    found = estimate_effect(DIFFERENCE, observed({"a": [0.5, 0.6], "b": [0.4, 0.4]}))
    assert found.values == pytest.approx((0.1, 0.2))
    assert (found.low, found.high, found.p, found.mde, found.sign) == (None,) * 5


def test_exactly_zero_is_said_without_a_test() -> None:
    crossed = fake_sweep.effect_of("mp_nce")
    same = {a: [0.1, 0.7, 1 / 3] for a in crossed}
    found = estimate_effect(crossed, observed(same))
    assert found.is_exactly_zero
    assert (found.mean, found.p, found.sign) == (0.0, None, 0)
    assert not estimate_effect(
        crossed, observed(same | {"full": [0.1, 0.7, 1 / 3 + 1e-16]})
    ).is_exactly_zero


def test_missing_and_diverged_seeds_are_counted_and_left_out() -> None:
    seen = observed(
        {"a": [0.8, 0.9, None, 0.7, 0.8], "b": [0.5, None, None, 0.5, 0.6]},
        diverged_cells=frozenset({("b", 1)}),
        chance=0.1,
    )
    found = estimate_effect(DIFFERENCE, seen)
    assert (found.seeds, found.num_diverged, found.num_missing) == ((0, 3, 4), 1, 1)
    assert found.mean == pytest.approx((0.3 + 0.2 + 0.2) / 3)
    assert found.worst_case_mean == pytest.approx((0.3 + 0.8 + 0.2 + 0.2) / 4)


def test_a_missing_arm_weakens_no_correction() -> None:
    """A contrast that cannot be tested yet still counts in the family."""
    seen = observed({"a": [0.5, 0.6, 0.7], "b": [0.4, 0.51, 0.59], "c": [0.2]})
    alone, pair = (
        estimate_primary_effects([DIFFERENCE], seen)[0],
        estimate_primary_effects([DIFFERENCE, {"a": 1.0, "c": -1.0}], seen)[0],
    )
    assert alone.p_adjusted == pytest.approx(alone.p)
    assert pair.p_adjusted == pytest.approx(2 * (alone.p or 0))


def test_equal_differences_are_no_proof_of_no_spread() -> None:
    """One test picture in each of three seeds claims nothing; half of the pictures do."""
    fine = {"resolution": 1 / 2048}
    one = estimate_effect(DIFFERENCE, observed({"a": [0.5 + 1 / 2048] * 3, "b": [0.5] * 3}, **fine))
    half = estimate_effect(DIFFERENCE, observed({"a": [1.0] * 3, "b": [0.5] * 3}, **fine))
    assert one.sign == 0
    assert half.sign == 1
    assert half.high is not None
    assert half.high > 0.5


def test_what_cannot_be_told_from_the_best() -> None:
    arms = {
        "best": [0.90, 0.92, 0.91, 0.93],
        "near": [0.91, 0.90, 0.92, 0.91],
        "far": [0.50, 0.52, 0.50, 0.53],
        "few": [0.95, 0.96],
    }
    assert find_tied_for_best(observed(arms), list(arms)) == {"best", "near"}
    assert find_tied_for_best(observed(arms), ["best", "near"]) == set()
    assert find_tied_for_best(observed({"a": [0.1, 0.2], "b": [0.3, 0.4]}), ["a", "b"]) == set()


def test_item_error_pairs_by_sample() -> None:
    g = draws(6)
    base = g.integers(0, 2, 500).astype(float)
    other = np.where(g.random(500) < 0.1, 1 - base, base)
    found = compute_test_set_se(DIFFERENCE, {"a": {0: base, 1: base}, "b": {0: other, 1: other}})
    assert found == pytest.approx(np.std(base - other, ddof=1) / math.sqrt(500))
    assert compute_test_set_se(DIFFERENCE, {"a": {0: base}, "b": {0: other[:-1]}}) is None
    assert compute_test_set_se(DIFFERENCE, {"a": {0: base}}) is None
