"""Effects: the intervals cover at their stated rate, and lost seeds are counted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.effects import (
    ALPHA,
    Observations,
    estimate_effect,
    paired_t,
)
from analysis.statistics.item_clusters import estimate_item_uncertainty
from tests.helpers import fake_sweep

SIMULATIONS = 200_000
DIFFERENCE = {"a": 1.0, "b": -1.0}


def make_rng(*parts: int) -> np.random.Generator:
    return np.random.Generator(
        np.random.Philox(key=sum(p * 1009**i for i, p in enumerate(parts, 1)))
    )


def observe(values: dict[str, list[float | None]], **fields: object) -> Observations:
    """Return observations from values by arm, in the order of seeds 0, 1, ...; None: no run."""
    num_seeds = max(len(v) for v in values.values())
    by_seed = {a: {s: x for s, x in enumerate(v) if x is not None} for a, v in values.items()}
    return Observations(seeds=tuple(range(num_seeds)), values=by_seed, **fields)  # type: ignore[arg-type]


# ---- coverage (Monte-Carlo error below 0.05 %) ---------------------------------------------------


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("shared", [0.0, 3.0])
def test_intervals_cover_at_their_stated_rate(seeds: int, shared: float) -> None:
    """Paired values of two arms whose seeds are as noisy as they like."""
    g = make_rng(1, seeds, int(shared))
    seed_effects = shared * g.normal(size=(SIMULATIONS, seeds))
    a = 0.7 + seed_effects + g.normal(size=seed_effects.shape)
    b = seed_effects + 2 * g.normal(size=seed_effects.shape)
    mean, half_width, p, _ = paired_t(a - b)
    assert abs(np.mean(np.abs(mean - 0.7) <= half_width) - 0.95) < 0.003
    assert np.array_equal(p < ALPHA, np.abs(mean) > half_width)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_crossed_contrasts_cover_the_planted_effects(seeds: int) -> None:
    """2 x 2 x 2 arms with main effects and one interaction; each contrast recovers its own."""
    planted = {"awareness": 0.3, "mp_nce": 0.0, "domain_similarity": -0.1}
    together = 0.2
    g, count = make_rng(2, seeds), 40_000
    seed_effects = g.normal(size=(count, seeds))
    scores = {}
    for arm in fake_sweep.arms()[:8]:
        sign = {n: 1 if on else -1 for n, on in arm.levels.items()}
        level = sum(e * sign[n] / 2 for n, e in planted.items())
        level += together * sign["awareness"] * sign["mp_nce"] / 2
        scores[arm.name] = level + seed_effects + 0.3 * g.normal(size=seed_effects.shape)
    for contrast in fake_sweep.contrasts()[:4]:
        value = sum(w * scores[a] for a, w in contrast.weights.items())
        truth = planted[contrast.component] if contrast.component else together
        mean, half_width, _, _ = paired_t(np.asarray(value))
        assert abs(mean.mean() - truth) < 0.003
        assert abs(np.mean(np.abs(mean - truth) <= half_width) - 0.95) < 0.006


# ---- rules ---------------------------------------------------------------------------------------


def test_an_effect_is_the_paired_t_of_scipy() -> None:
    a, b = [0.5, 0.62, 0.57, 0.61], [0.45, 0.52, 0.55, 0.5]
    effect = estimate_effect(DIFFERENCE, observe({"a": a, "b": b}))
    reference = stats.ttest_rel(a, b)
    low, high = reference.confidence_interval(0.95)
    assert (effect.mean, effect.p) == pytest.approx((np.mean(a) - np.mean(b), reference.pvalue))
    assert (effect.low, effect.high) == pytest.approx((low, high))
    unpaired = np.var(a, ddof=1) + np.var(b, ddof=1)
    assert effect.variance_ratio == pytest.approx(np.var(np.subtract(a, b), ddof=1) / unpaired)


def test_two_seeds_give_values_and_no_interval() -> None:
    effect = estimate_effect(DIFFERENCE, observe({"a": [0.5, 0.6], "b": [0.4, 0.4]}))
    assert effect.values == pytest.approx((0.1, 0.2))
    assert (effect.low, effect.high, effect.p, effect.mde, effect.sign) == (None,) * 5


def test_exactly_zero_needs_no_test() -> None:
    crossed = fake_sweep.effect_weights("mp_nce")
    same = {a: [0.1, 0.7, 1 / 3] for a in crossed}
    effect = estimate_effect(crossed, observe(same))
    assert effect.is_exactly_zero
    assert (effect.mean, effect.p, effect.sign) == (0.0, None, 0)
    assert not estimate_effect(
        crossed, observe(same | {"full": [0.1, 0.7, 1 / 3 + 1e-16]})
    ).is_exactly_zero


def test_missing_and_diverged_seeds_are_counted_and_excluded() -> None:
    observations = observe(
        {"a": [0.8, 0.9, None, 0.7, 0.8], "b": [0.5, None, None, 0.5, 0.6]},
        diverged_cells=frozenset({("b", 1)}),
        chance=0.1,
    )
    effect = estimate_effect(DIFFERENCE, observations)
    assert (effect.seeds, effect.num_diverged, effect.num_missing) == ((0, 3, 4), 1, 1)
    assert effect.mean == pytest.approx((0.3 + 0.2 + 0.2) / 3)
    assert effect.worst_case_mean == pytest.approx((0.3 + 0.8 + 0.2 + 0.2) / 4)


def test_equal_differences_do_not_prove_a_spread_of_zero() -> None:
    """One test picture in each of three seeds claims nothing; half_width of the pictures do."""
    fine = {"resolution": 1 / 2048}
    one = estimate_effect(DIFFERENCE, observe({"a": [0.5 + 1 / 2048] * 3, "b": [0.5] * 3}, **fine))
    half_width = estimate_effect(DIFFERENCE, observe({"a": [1.0] * 3, "b": [0.5] * 3}, **fine))
    assert one.sign == 0
    assert half_width.sign == 1
    assert half_width.high is not None
    assert half_width.high > 0.5


def test_the_test_set_se_pairs_by_sample() -> None:
    g = make_rng(6)
    base = g.integers(0, 2, 500).astype(float)
    other = np.where(g.random(500) < 0.1, 1 - base, base)
    outcomes = {"a": {0: base, 1: base}, "b": {0: other, 1: other}}
    uncertainty = estimate_item_uncertainty(DIFFERENCE, outcomes)
    assert uncertainty is not None
    assert uncertainty.item_se == pytest.approx(np.std(base - other, ddof=1) / math.sqrt(500))
    assert estimate_item_uncertainty(DIFFERENCE, {"a": {0: base}, "b": {0: other[:-1]}}) is None
    assert estimate_item_uncertainty(DIFFERENCE, {"a": {0: base}}) is None


def test_the_worst_case_mean_of_an_arm_counts_diverged_runs_at_chance() -> None:
    observations = observe(
        {"a": [0.8, None, 0.6]}, diverged_cells=frozenset({("a", 1), ("b", 0)}), chance=0.1
    )
    assert observations.count_diverged("a") == 1
    assert observations.compute_mean("a") == pytest.approx(0.7)
    assert observations.compute_worst_case_mean("a") == pytest.approx(0.5)
    assert observations.compute_mean("c") is None
    assert observations.compute_worst_case_mean("c") is None
