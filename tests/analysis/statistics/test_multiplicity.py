"""Families of contrasts: false verdicts occur at the stated rate, and Holm by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.statistics.effects import ALPHA, estimate_effect, paired_t
from analysis.statistics.looks import run_look
from analysis.statistics.multiplicity import compare_with_best, holm_adjust
from tests.analysis.statistics.test_effects import SIMULATIONS, make_rng, observe
from uniclip.store import Look

LOOKS = (Look(num_seeds=3, level=0.05),)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_without_effect_a_family_errs_at_the_stated_rate(seeds: int) -> None:
    """Three primary contrasts of no effect: any claim in at most 5 %, and not in far fewer."""
    values = make_rng(3, seeds).normal(size=(SIMULATIONS, 3, seeds))
    p = paired_t(values)[2]
    assert abs(np.mean(p[:, 0] < ALPHA) - ALPHA) < 0.002
    any_claim = np.mean(p.min(1) < ALPHA / 3)  # Holm claims something when its first step does
    assert any_claim <= ALPHA + 0.002
    assert any_claim > 0.045


def test_holm_by_hand() -> None:
    assert holm_adjust([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm_adjust([0.9, 0.8]) == [1.0, 1.0]
    assert holm_adjust([]) == []


def test_arms_that_tie_for_the_best_mean() -> None:
    arms = {
        "best": [0.90, 0.92, 0.91, 0.93],
        "near": [0.91, 0.90, 0.92, 0.91],
        "far": [0.50, 0.52, 0.50, 0.53],
        "few": [0.95, 0.96],
    }
    comparison = compare_with_best(observe(arms), list(arms), LOOKS)
    assert comparison is not None
    assert (comparison.best_arm, comparison.bold_arms) == ("best", {"best", "near"})
    assert comparison.worse_arms == {"far"}
    few = compare_with_best(observe(arms), ["best", "near"], LOOKS)
    assert few is not None
    assert few.bold_arms == set()
    two_seeds = observe({"a": [0.1, 0.2], "b": [0.3, 0.4]})
    assert compare_with_best(two_seeds, ["a", "b"], LOOKS) is None


def test_the_best_arm_is_that_of_the_seeds_of_the_look() -> None:
    """Seeds between looks change no verdict, and so not the arm that others are compared with."""
    looks = (Look(num_seeds=4, level=0.025), Look(num_seeds=8, level=0.025))
    arms = {"early": [0.90, 0.92, 0.91, 0.93, 0.1], "late": [0.80, 0.82, 0.81, 0.83, 0.99]}
    comparison = compare_with_best(observe(arms), list(arms), looks)
    assert comparison is not None
    assert comparison.best_arm == "early"
    assert comparison.worse_arms == {"late"}
    only_later = replace(observe(arms), first_seed=1)
    before_a_look = compare_with_best(only_later, list(arms), looks[1:])
    assert before_a_look is not None
    assert before_a_look.best_arm == "late", "before the first look: over all seeds"


def test_before_the_first_look_every_arm_ties() -> None:
    arms = {"best": [0.90, 0.92, 0.91, 0.93], "far": [0.50, 0.52, 0.50, 0.53]}
    comparison = compare_with_best(observe(arms), list(arms), [Look(num_seeds=5, level=0.05)])
    assert comparison is not None
    assert comparison.tied_arms == {"best", "far"}
    assert comparison.bold_arms == set()


def test_a_declared_comparison_precedes_the_test_against_the_best_arm() -> None:
    """The pair has the verdict of its contrast, whether that is stricter or not."""
    arms = {"a": [0.90, 0.95, 0.91], "b": [0.80, 0.88, 0.86], "c": [0.10, 0.30, 0.20]}
    observations = observe(arms)
    alone = estimate_effect({"a": 1.0, "b": -1.0}, observations)
    look = run_look(alone, LOOKS, ("set", "score"))
    for p, expected in ((0.01, {"b", "c"}), (0.9, {"c"})):
        declared = {("a", "b"): replace(alone, look=replace(look, p=p))}
        comparison = compare_with_best(observations, list(arms), LOOKS, declared)
        assert comparison is not None
        assert comparison.worse_arms == expected


def test_the_best_arm_of_a_score_of_which_lower_is_better() -> None:
    values = {"a": [1.0, 1.1, 1.2], "b": [2.0, 2.1, 2.2], "c": [1.01, 1.1, 1.19]}
    for higher_is_better, best in ((True, "b"), (False, "a")):
        observations = replace(observe(values), higher_is_better=higher_is_better)
        comparison = compare_with_best(observations, list(values), (Look(num_seeds=3, level=0.05),))
        assert comparison is not None
        assert comparison.best_arm == best
        assert ("b" in comparison.worse_arms) == (not higher_is_better)


def test_an_arm_with_more_seeds_is_compared_over_the_seeds_of_all_arms() -> None:
    looks = (Look(num_seeds=5, level=0.025), Look(num_seeds=12, level=0.025))
    jitter = [0.0, 0.001, 0.002, 0.003, 0.004]
    arms = {"longer": [0.1 + j for j in jitter] + [0.9] * 7, "shorter": [0.15 + j for j in jitter]}
    arms["shorter"][0] += 0.001
    comparison = compare_with_best(observe(arms), list(arms), looks)
    assert comparison is not None
    assert comparison.best_arm == "shorter"
    assert comparison.worse_arms == {"longer"}
