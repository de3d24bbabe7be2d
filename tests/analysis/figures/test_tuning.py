"""Figures of a tuning: every trial is drawn, and a plan without trials has a reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from analysis.figures import build, style, tuning
from analysis.results.results import Results
from tests.helpers.analyzed_sweeps import analyze_sweep
from tests.helpers.fake_tuned_sweep import DIMENSIONS, KEY, make_tuned_sweep, save_trials

N_TRIALS = 12


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    store, plan = make_tuned_sweep(tmp_path_factory.mktemp("store"))
    plan = save_trials(store, plan, N_TRIALS)
    with style.use_figure_style():
        yield analyze_sweep(store, plan.sweep_id)


def test_the_curves_rise_to_the_best_score_of_each_arm(results: Results) -> None:
    assert results.tuning_trials is not None
    (axes,) = tuning.draw_tuning_curves(results).axes
    lines = {line.get_label(): line for line in axes.lines}
    for arm, curve in results.tuning_trials.curves.items():
        heights = np.asarray(lines[results.get_arm_label(arm)].get_ydata())
        assert heights == pytest.approx(100 * curve.expected)
        assert np.all(np.diff(heights) >= 0)
        best = max(t.score for t in results.tuning_trials.trials[arm] if t.completed)
        assert heights[-1] == pytest.approx(100 * best)
    assert len(axes.collections) == len(results.plan.arms), "a band for each"


def test_importances_have_a_bar_per_arm_and_key(results: Results) -> None:
    (axes,) = tuning.draw_importances(results).axes
    assert len(axes.patches) == len(results.plan.arms) * len(DIMENSIONS)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(DIMENSIONS)


def test_slices_show_every_trial_that_has_the_key(results: Results) -> None:
    assert results.tuning_trials is not None
    panels = {axes.get_xlabel(): axes for axes in tuning.draw_slices(results).axes}
    assert panels[KEY].get_xscale() == "log"
    trials = results.tuning_trials.trials[results.plan.arms[0].name]
    for key, axes in panels.items():
        marks = axes.collections[0]
        active = [t for t in trials if key in t.params]
        assert len(np.asarray(marks.get_offsets())) == len(active)
        is_filled = [tuple(color) != to_rgba("none") for color in marks.get_facecolors()]
        assert is_filled == [t.completed for t in active]
    assert len(panels["train.adam_eps"].collections[0].get_offsets()) == N_TRIALS / 2


def test_parallel_coordinates_have_a_line_per_completed_trial(results: Results) -> None:
    figure = tuning.draw_parallel_coordinates(results)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == len(results.plan.arms)
    completed = N_TRIALS - N_TRIALS // 4
    for axes in panels:
        heights = [np.asarray(line.get_ydata(), float) for line in axes.lines]
        assert len(heights) == completed
        assert max(h[-1] for h in heights) == 1, "the best score"
        assert all(np.nanmin(h) >= 0 and np.nanmax(h) <= 1 for h in heights)


def test_a_plan_without_trials_has_a_reason(tmp_path: Path) -> None:
    store, plan = make_tuned_sweep(tmp_path)
    figures = build._draw_tuning(analyze_sweep(store, plan.sweep_id), tmp_path)
    assert [f.name.startswith("tuning_") for f in figures] == [True] * 4
    assert all("not in the store" in str(f.skip_reason) for f in figures)
