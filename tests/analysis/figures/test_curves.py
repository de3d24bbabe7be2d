"""Figures of training."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.figures.curves import draw_learning_curves, draw_temperatures, select_validations
from analysis.figures.style import FigureSkipped, use_figure_style
from analysis.results.results import Results


def test_images_of_a_validation_follow_from_its_step(complete_results: Results) -> None:
    rows = select_validations(complete_results.sweep_data.history)
    assert len(rows) == 33 * 4
    images = rows.set_index(["arm", "seed", "step"])["images_seen"]
    assert images["clip", 0, 100] == pytest.approx(12.8)
    assert images["full", 0, 100] == pytest.approx(38.4)


def test_a_line_for_each_arm_and_domain_pair(complete_results: Results) -> None:
    plan, history = complete_results.plan, complete_results.sweep_data.history
    with use_figure_style():
        curves = draw_learning_curves(history, plan.arms, plan.reference)
        temperatures = draw_temperatures(history, plan.reference)
    assert [len(axes.lines) for axes in curves.axes] == [11, 11, 11]
    labels = [line.get_label() for line in temperatures.axes[0].lines]
    assert [x for x in labels if not str(x).startswith("_")] == [
        "image-image", "image-text", "text-text"
    ]  # fmt: skip


def test_without_records_the_figures_are_skipped(complete_results: Results) -> None:
    plan = complete_results.plan
    history = pd.DataFrame(columns=["arm", "seed", "run", "phase", "step"])
    with pytest.raises(FigureSkipped, match="no validation"):
        draw_learning_curves(history, plan.arms, plan.reference)
    with pytest.raises(FigureSkipped, match="no temperatures"):
        draw_temperatures(history, plan.reference)
    with pytest.raises(FigureSkipped, match="no temperatures"):
        draw_temperatures(complete_results.sweep_data.history, "clip")
