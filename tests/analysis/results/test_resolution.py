"""What would resolve a contrast: looks, seeds and their run time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.results.resolution import (
    describe_more_seeds,
    describe_next_look,
    describe_resolution,
    describe_resolutions,
    estimate_seconds_per_seed,
)
from analysis.results.results import Results
from analysis.statistics.looks import estimate_required_seeds
from tests.helpers.analyzed_sweeps import analyze_fake_sweep, analyze_with_metrics
from tests.helpers.fake_sweep import Truth
from uniclip.store import DEFAULT_LOOKS, Look


def set_costs(results: Results, **columns: list[float]) -> Results:
    costs = results.sweep_data.costs.assign(**columns)
    return replace(results, sweep_data=replace(results.sweep_data, costs=costs))


def test_one_more_seed_takes_the_time_of_one_run_of_every_arm(complete_results: Results) -> None:
    cells = len(complete_results.plan.cells)
    measured = set_costs(complete_results, wall_seconds=[60.0] * cells)
    arms = len(complete_results.plan.arms)
    assert estimate_seconds_per_seed(measured.sweep_data) == 60.0 * arms
    text = describe_more_seeds(measured.sweep_data, 2)
    assert text == f"2 more seeds, about {2 * arms} min on one worker"
    nan = [float("nan")] * cells
    predicted = set_costs(complete_results, wall_seconds=nan, predicted_seconds=[30.0] * cells)
    assert estimate_seconds_per_seed(predicted.sweep_data) == 30.0 * arms
    unknown = set_costs(complete_results, wall_seconds=nan, predicted_seconds=nan)
    assert describe_more_seeds(unknown.sweep_data, 1) == "1 more seed"


def test_the_next_look_and_the_required_seeds_are_named(tmp_path: Path) -> None:
    looks = (Look(num_seeds=3, level=0.02), Look(num_seeds=5, level=0.03))
    results = analyze_fake_sweep(tmp_path, Truth(margin=0.004, looks=looks))
    contrast = next(c for c in results.plan.contrasts if c.name == "main:mp_nce")
    look = results.effects[contrast.name].look
    assert look is not None
    assert describe_next_look(results.sweep_data, look).startswith("next look at 5 seeds (2 more")
    required = estimate_required_seeds(results.effects[contrast.name])
    assert required is not None
    assert required > 5
    text = describe_resolution(results, contrast, results.primary_score)
    assert text.startswith(f"about {required} seeds would resolve it: {required - 3} more seeds")
    assert text.endswith("; the last look is at 5")
    helped = next(c for c in results.plan.contrasts if c.name == "main:awareness")
    assert describe_resolution(results, helped, results.primary_score) == ""
    assert describe_next_look(results.sweep_data, replace(look, reached=looks[1])) == ""


@pytest.mark.parametrize("margin", [None, 1e-7])
def test_outside_the_margin_the_estimate_is_to_be_detected(
    tmp_path: Path, margin: float | None
) -> None:
    results = analyze_fake_sweep(tmp_path, Truth(margin=margin, looks=DEFAULT_LOOKS))
    contrast = next(c for c in results.plan.contrasts if c.name == "main:mp_nce")
    text = describe_resolution(results, contrast, results.primary_score)
    assert "seeds would resolve it (if it is as large as estimated): " in text
    effect = results.effects[contrast.name]
    assert effect.look is not None
    hopeless = replace(effect, mean=1e-9, look=replace(effect.look, margin=None))
    key = results.primary_score
    changed = replace(results, primary_effects={key: {contrast.name: hopeless}})
    text = describe_resolution(changed, contrast, key)
    assert text == "more than 1000 seeds would be needed to resolve it"


def test_with_seeds_that_have_gaps_only_the_missing_ones_are_counted(tmp_path: Path) -> None:
    truth = Truth(seeds=(0, 1, 2, 4, 6), looks=DEFAULT_LOOKS, margin=0.002)
    results = analyze_fake_sweep(tmp_path, truth)
    look = results.effects["main:mp_nce"].look
    assert look is not None
    assert (look.num_finished, look.list_missing_seeds(8)) == (3, [3, 5, 7])
    text = describe_next_look(results.sweep_data, look)
    assert text.startswith("first look at 5 seeds (1 more seed")
    assert text.endswith(": seed 3)")
    contrast = next(c for c in results.plan.contrasts if c.name == "main:mp_nce")
    required = estimate_required_seeds(results.effects[contrast.name])
    assert required is not None
    text = describe_resolution(results, contrast, results.primary_score)
    assert f": {required - 5} more seeds" in text
    assert ": seeds 3, 5, 7, " in text


def test_each_primary_score_has_its_own_resolution(tmp_path: Path) -> None:
    """Named by their labels, also where the first score is resolved."""
    results = analyze_with_metrics(tmp_path, "retrieval.r1", "retrieval.t2i.r5", Truth(margin=0.03))
    for contrast in results.primary_contrasts:
        texts = describe_resolutions(results, contrast)
        expected = {
            results.format_heading(key): describe_resolution(results, contrast, key)
            for key in results.primary_scores
        }
        assert texts == [f"on {label} {text}" for label, text in expected.items() if text]
    (other,) = [c for c in results.primary_contrasts if c.name == "main:mp_nce"]
    assert describe_resolution(results, other, results.primary_scores[1])
