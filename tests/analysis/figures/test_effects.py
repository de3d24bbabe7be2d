"""Figures of effects and interactions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.figures.effects import LABEL_WIDTH, draw_effects, draw_interactions
from analysis.figures.style import FigureSkipped, use_figure_style
from analysis.report.build import ReportResult
from analysis.results.results import Results
from tests.helpers.analyzed_sweeps import analyze_fake_sweep, analyze_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.store import Store


def test_a_row_for_each_contrast_and_group(complete_results: Results) -> None:
    with use_figure_style():
        (axes,) = draw_effects(complete_results).axes
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert [x for x in labels if x in ("Main effects", "Noise floor")] == [
        "Main effects", "Noise floor"
    ]  # fmt: skip
    assert {c.label for c in complete_results.plan.contrasts} <= set(labels)
    assert any("helps" in text.get_text() for text in axes.texts)


def test_labels_with_aliases_leave_room_for_the_panels(complete_results: Results) -> None:
    label = "awareness [+ MP-NCE x domain similarity x strong view + decay x strong view]"
    plan = complete_results.plan
    contrasts = tuple(replace(c, label=f"{label} {i}") for i, c in enumerate(plan.contrasts))
    sweep_data = replace(complete_results.sweep_data, plan=replace(plan, contrasts=contrasts))
    with use_figure_style():
        figure = draw_effects(replace(complete_results, sweep_data=sweep_data))
        figure.canvas.draw()
    (axes,) = figure.axes
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert " ".join(labels[1].split("\n")) == f"{label} 0"
    assert max(len(line) for text in labels for line in text.split("\n")) <= LABEL_WIDTH
    extents = [t.get_window_extent() for t in axes.get_xticklabels() if t.get_text()]
    assert all(a.x1 < b.x0 for a, b in zip(extents, extents[1:])), "numbers do not overlap"
    heights = [tick.get_window_extent() for tick in axes.get_yticklabels()]
    assert all(a.y0 >= b.y1 for a, b in zip(heights, heights[1:])), "lines do not overlap"


def test_a_panel_for_each_primary_score(built_report: tuple[Store, str, ReportResult]) -> None:
    """With the values and verdicts of that score."""
    store, sweep_id, _ = built_report
    results = analyze_sweep(store, sweep_id)
    with use_figure_style():
        panels = draw_effects(results).axes
        interactions = draw_interactions(results).axes
    headings = [results.format_heading(key, "difference") for key in results.primary_scores]
    assert len(headings) == 2
    assert [axes.get_xlabel() for axes in panels] == [f"effect on {h}" for h in headings]
    for axes, key in zip(panels, results.primary_scores):
        texts = [text.get_text() for text in axes.texts]
        assert len(texts) == len(results.plan.contrasts)
        for contrast, text in zip(results.plan.contrasts, texts):
            effect = results.get_effects(key)[contrast.name]
            assert text.startswith(
                results.get_effect_format(effect, key).format_signed(effect.mean)
            )
            assert results.judge(contrast, key).word in text
    assert len(interactions) == 6, "three pairs, two scores"
    labels = [axes.get_ylabel() for axes in interactions if axes.get_ylabel()]
    assert labels == [results.format_heading(key, "value") for key in results.primary_scores]


def test_a_panel_for_each_pair_of_components(complete_results: Results) -> None:
    with use_figure_style():
        axes = draw_interactions(complete_results).axes
    assert [a.get_xlabel() for a in axes] == ["awareness", "awareness", "mp nce"]


def test_interactions_need_a_complete_crossed_seed(
    complete_results: Results, tmp_path: Path
) -> None:
    missing = tuple(("none", seed) for seed in (0, 1, 2))
    with pytest.raises(FigureSkipped, match="no seed has every arm"):
        draw_interactions(analyze_fake_sweep(tmp_path, Truth(missing=missing)))
    plan = replace(complete_results.plan, components=())
    sweep_data = replace(complete_results.sweep_data, plan=plan)
    with pytest.raises(FigureSkipped, match="fewer than two components"):
        draw_interactions(replace(complete_results, sweep_data=sweep_data))
