"""Baselines: the arms that the reference is compared with, on every primary score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from analysis.results.results import Results
from tests.helpers.analyzed_sweeps import analyze_listed_sweep, analyze_with_metrics
from tests.helpers.fake_sweep import Truth


def test_the_baselines_of_a_listed_reference_are_the_arms_it_is_compared_with(
    tmp_path: Path,
) -> None:
    results = analyze_listed_sweep(tmp_path, Truth())
    assert {b.arm for b in results.baselines[results.primary_score]} == {
        "no-awareness", "no-mp-nce", "no-domain-similarity", "clip", "clip-same-views"
    }  # fmt: skip
    means = [b.mean for b in results.baselines[results.primary_score]]
    assert means == sorted(means, reverse=True)
    comparisons = [b.comparison for b in results.baselines[results.primary_score]]
    assert all(c is not None and c.effect.p_adjusted is not None for c in comparisons)
    assert replace(results, baselines={}).compute_mean("full") == results.compute_mean("full")


def test_the_baselines_of_a_crossed_reference_are_all_arms_but_those_of_noise(
    complete_results: Results,
) -> None:
    names = {a.name for a in complete_results.plan.arms if a.role != "noise"} - {"full"}
    assert {b.arm for b in complete_results.baselines[complete_results.primary_score]} == names


def test_each_primary_score_has_its_own_order_and_comparisons(tmp_path: Path) -> None:
    """Of the calibration error, the lowest is the best."""
    results = analyze_with_metrics(tmp_path, "retrieval.r1", "ece")
    for key, is_reversed in zip(results.primary_scores, (True, False)):
        baselines = results.baselines[key]
        assert [b.mean for b in baselines] == sorted(
            [b.mean for b in baselines], reverse=is_reversed
        )
        for baseline in baselines:
            assert baseline.mean == results.compute_mean(baseline.arm, key)
            declared = results.get_declared_effects(key).get(("full", baseline.arm))
            assert (baseline.comparison.effect if baseline.comparison else None) == declared
