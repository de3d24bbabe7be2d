"""Families of contrasts: false verdicts occur at the stated rate, and Holm by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.statistics.effects import ALPHA, Observations, estimate_effect, paired_t
from analysis.statistics.multiplicity import (
    compare_with_best,
    estimate_primary_effects,
    holm_adjust,
)
from tests.analysis.statistics.test_effects import DIFFERENCE, SIMULATIONS, make_rng, observe
from tests.helpers import fake_sweep


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_without_effect_a_family_errs_at_the_stated_rate(seeds: int) -> None:
    """Three primary contrasts of no effect: any claim in at most 5 %, and not in far fewer."""
    values = make_rng(3, seeds).normal(size=(SIMULATIONS, 3, seeds))
    p = paired_t(values)[2]
    assert abs(np.mean(p[:, 0] < ALPHA) - ALPHA) < 0.002
    any_claim = np.mean(p.min(1) < ALPHA / 3)  # Holm claims something when its first step does
    assert any_claim <= ALPHA + 0.002
    assert any_claim > 0.045


def test_false_verdicts_of_crossed_arms() -> None:
    """The same through `estimate_primary_effects`: crossed arms without any effect, three seeds."""
    contrasts = [c.weights for c in fake_sweep.contrasts()[:3]]
    names = [a.name for a in fake_sweep.arms()[:8]]
    g, trials, wrong = make_rng(4), 1500, 0
    for _ in range(trials):
        table = g.normal(size=(3, 1)) + g.normal(size=(3, 8))
        values = {n: dict(enumerate(table[:, i].tolist())) for i, n in enumerate(names)}
        effect = estimate_primary_effects(contrasts, Observations(seeds=(0, 1, 2), values=values))
        wrong += any(e.sign for e in effect)
    assert 0.03 < wrong / trials < 0.07  # 5 % +- 3.5 standard errors


def test_holm_by_hand() -> None:
    assert holm_adjust([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm_adjust([0.9, 0.8]) == [1.0, 1.0]
    assert holm_adjust([]) == []


def test_a_missing_arm_does_not_weaken_the_correction() -> None:
    """A contrast that cannot be tested yet still counts in the family."""
    observations = observe({"a": [0.5, 0.6, 0.7], "b": [0.4, 0.51, 0.59], "c": [0.2]})
    alone, pair = (
        estimate_primary_effects([DIFFERENCE], observations)[0],
        estimate_primary_effects([DIFFERENCE, {"a": 1.0, "c": -1.0}], observations)[0],
    )
    assert alone.p_adjusted == pytest.approx(alone.p)
    assert pair.p_adjusted == pytest.approx(2 * (alone.p or 0))


def test_arms_that_tie_for_the_best_mean() -> None:
    arms = {
        "best": [0.90, 0.92, 0.91, 0.93],
        "near": [0.91, 0.90, 0.92, 0.91],
        "far": [0.50, 0.52, 0.50, 0.53],
        "few": [0.95, 0.96],
    }
    comparison = compare_with_best(observe(arms), list(arms))
    assert comparison is not None
    assert (comparison.best_arm, comparison.bold_arms) == ("best", {"best", "near"})
    assert comparison.worse_arms == {"far"}
    few = compare_with_best(observe(arms), ["best", "near"])
    assert few is not None
    assert few.bold_arms == set()
    assert compare_with_best(observe({"a": [0.1, 0.2], "b": [0.3, 0.4]}), ["a", "b"]) is None


def test_a_declared_comparison_precedes_the_test_against_the_best_arm() -> None:
    """The pair has the verdict of its contrast, whether that is stricter or not."""
    arms = {"a": [0.90, 0.95, 0.91], "b": [0.80, 0.88, 0.86], "c": [0.10, 0.30, 0.20]}
    observations = observe(arms)
    alone = estimate_effect({"a": 1.0, "b": -1.0}, observations)
    for p_adjusted, expected in ((0.01, {"b", "c"}), (0.9, {"c"})):
        declared = {("a", "b"): replace(alone, p_adjusted=p_adjusted)}
        comparison = compare_with_best(observations, list(arms), declared)
        assert comparison is not None
        assert comparison.worse_arms == expected
