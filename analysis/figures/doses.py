"""Figure of dose curves: the score at each dose of a component, and the monotone fit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.figures.palette import PALETTE
from analysis.results.doses import DoseCurve, analyze_doses
from analysis.results.results import Results
from analysis.statistics.effects import Observations
from analysis.statistics.verdicts import ScoreKey


def draw_doses(results: Results, *, ax: style.AxesLike | None = None) -> Figure:
    """Draw a panel per component, and a row per primary score: seeds, means and monotone fit."""
    curves: Mapping[ScoreKey, list[DoseCurve]] = {
        key: [
            curve
            for curve in analyze_doses(results.plan, results.observations[key])
            if curve.trend is not None
        ]
        for key in results.primary_scores
    }
    curves = {key: drawn for key, drawn in curves.items() if drawn}
    if not curves:
        raise style.FigureSkipped("no seed has every dose of a component")
    num_columns = max(map(len, curves.values()))
    size = (3.1 * num_columns, 2.9 * len(curves))
    figure, rows = style.create_panels(ax, len(curves), num_columns, size, sharey="row")
    labels = {c.name: c.label for c in results.plan.components}
    for panels, (key, drawn) in zip(rows, curves.items()):
        score_format = results.get_score_format(key)
        for axes, curve in zip(panels, drawn):
            _draw_curve(axes, curve, results.observations[key], score_format.factor)
            axes.set_xlabel(f"dose of {labels[curve.component]}")
        panels[0].set_ylabel(results.format_heading(key, "value"))
    return figure


def _draw_curve(axes: Axes, curve: DoseCurve, observations: Observations, factor: float) -> None:
    assert curve.trend is not None
    values = [[observations.values[arm][seed] for arm in curve.arms] for seed in curve.seeds]
    seed_lines = [np.column_stack([curve.doses, factor * np.array(seed)]) for seed in values]
    style.draw_thin_lines(axes, seed_lines, PALETTE[0], alpha=0.35)
    axes.plot(curve.doses, factor * np.array(curve.trend.fitted), color=PALETTE[1], linewidth=1.6)
    axes.plot(curve.doses, factor * np.array(curve.trend.means), "o", color=PALETTE[0])
    axes.set_xticks(curve.doses)
