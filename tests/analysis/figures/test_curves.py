"""Figures of training."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.figures.curves import (
    draw_learning_curves,
    draw_loss_curves,
    draw_temperatures,
    select_validations,
)
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


def test_the_loss_of_every_arm_is_drawn(complete_results: Results) -> None:
    plan, history = complete_results.plan, complete_results.sweep_data.history
    with use_figure_style():
        (axes,) = draw_loss_curves(history, plan.arms, plan.reference).axes
    assert [line.get_label() for line in axes.lines] == [a.label for a in plan.arms]
    assert len(axes.lines[0].get_xdata()) == 20


@pytest.mark.parametrize(("steps", "marker"), [([200], "o"), ([100, 200], "o"), (None, "")])
def test_few_points_are_marked(
    complete_results: Results, steps: list[int] | None, marker: str
) -> None:
    """A curve of a single validation would have no line."""
    plan, history = complete_results.plan, complete_results.sweep_data.history
    is_kept = history["phase"] != "validation"
    if steps is not None:
        history = history[is_kept | history["step"].isin(steps)]
    else:
        extra = history[~is_kept].assign(step=lambda rows: rows["step"] - 10)
        history = pd.concat([history, extra])
    with use_figure_style():
        axes = draw_learning_curves(history, plan.arms, plan.reference).axes[0]
    assert {line.get_marker() or "" for line in axes.lines} == {marker}
    assert max(axes.lines[0].get_ydata()) > 1, "percent"


def test_without_records_the_figures_are_skipped(complete_results: Results) -> None:
    plan = complete_results.plan
    history = pd.DataFrame(columns=["arm", "seed", "run", "phase", "step"])
    with pytest.raises(FigureSkipped, match="no training loss"):
        draw_loss_curves(history, plan.arms, plan.reference)
    with pytest.raises(FigureSkipped, match="no validation"):
        draw_learning_curves(history, plan.arms, plan.reference)
    with pytest.raises(FigureSkipped, match="no temperatures"):
        draw_temperatures(history, plan.reference)
    with pytest.raises(FigureSkipped, match="no temperatures"):
        draw_temperatures(complete_results.sweep_data.history, "clip")
