"""The forest plot: a row per data set, and two for the means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.figures import interface
from analysis.figures.forest import draw_forest, list_forest_scores
from analysis.figures.style import FigureSkipped
from analysis.results.dataset_means import average_effects
from analysis.results.results import Results


def test_rows_are_data_sets_and_means(published_results: Results) -> None:
    figure = draw_forest(published_results)
    contrasts = [c.label for c in published_results.plan.contrasts]
    assert [axes.get_title().replace("\n", " ") for axes in figure.axes] == contrasts
    limits = {axes.get_xlim() for axes in figure.axes}
    assert len(limits) == 1  # one scale, so that effects can be compared
    first = figure.axes[0]
    labels = [tick.get_text() for tick in first.get_yticklabels()]
    assert labels == ["cifar10", "dtd", "flowers102", "mean, these sets", "mean, new sets"]
    averaged = average_effects(published_results)[0]
    marks = {
        float(line.get_ydata()[0]): float(line.get_xdata()[0])
        for line in first.lines
        if line.get_marker() in ("s", "D")
    }
    expected = [*averaged.estimate.by_dataset.values(), *[averaged.estimate.mean] * 2]
    assert [marks[y] for y in range(5)] == pytest.approx(100 * np.array(expected))


def test_more_contrasts_than_columns_are_drawn_in_rows(published_results: Results) -> None:
    plan = published_results.plan
    contrasts = [replace(plan.contrasts[0], name=f"c{i}", label=f"contrast {i}") for i in range(4)]
    results = replace(published_results, sweep_data=replace(
        published_results.sweep_data, plan=replace(plan, contrasts=tuple(contrasts))
    ))  # fmt: skip
    figure = draw_forest(results)
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in shown] == [c.label for c in contrasts]
    assert len({axes.get_position().y0 for axes in shown}) == 2


def test_a_report_draws_every_score_but_recalls_beyond_1(published_results: Results) -> None:
    assert list_forest_scores(published_results) == [
        "zeroshot", "probe", "retrieval.i2t.r1", "retrieval.t2i.r1",
    ]  # fmt: skip


def test_another_score_is_drawn_on_request(published_results: Results) -> None:
    axes = interface.draw_forest(published_results, "probe").axes[0]
    assert axes.get_xlabel() == "effect on linear probe (pp)"


def test_a_sweep_without_published_sets_has_no_forest(complete_results: Results) -> None:
    with pytest.raises(FigureSkipped, match="two data sets"):
        draw_forest(complete_results)
    text = interface.draw_forest(complete_results).axes[0].texts[0].get_text()
    assert text.startswith("No figure: no contrast has a score")
