"""Figures of effects: every contrast with its seeds and interval, and interactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from textwrap import fill

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import formatting
from analysis.figures import style
from analysis.figures.palette import PALETTE
from analysis.results.results import Results
from analysis.statistics.effects import Effect, Floats, Observations
from analysis.statistics.verdicts import ScoreKey, Verdict
from uniclip.store import Arm, Contrast

CONTRAST_GROUPS = {
    "main": "Main effects",
    "shapley": "Shapley values",
    "interaction": "Interactions",
    "trend": "Trends over doses",
    "scale": "Effects per tenfold compute",
    "difference": "Single differences",
    "noise": "Noise floor",
}

LABEL_WIDTH = 60
"""Characters of a line of a label: those of effects with aliases are longer."""
ROW_HEIGHT, LINE_HEIGHT = 0.31, 0.13
"""Inches of a row, and of each further line of its label."""

CROSSED_DESIGNS = ("crossed", "leave_one_out", "listed", "shapley")
"""Designs whose arms may be all combinations; in others, means over arms mix several effects."""
MAX_CROSSED = 4
"""Most components of a figure of interactions."""


def draw_effects(results: Results, *, ax: style.AxesLike | None = None) -> Figure:
    """Draw a row per contrast: its seeds, interval, mean and verdict; a panel per primary score."""
    rows: list[Contrast | str] = []
    for kind, title in CONTRAST_GROUPS.items():
        group_rows = [
            c
            for c in results.select_contrasts(kind)
            if any(results.get_effects(key)[c.name].values for key in results.primary_scores)
        ]
        rows += [title, *group_rows] if group_rows else []
    if not rows:
        raise style.FigureSkipped("no contrast has a seed that all of its arms completed")
    keys = results.primary_scores
    labels = [
        row if isinstance(row, str) else fill(row.label, LABEL_WIDTH, break_on_hyphens=False)
        for row in rows
    ]
    size = _choose_size(len(keys), labels)
    figure, grid = style.create_panels(ax, 1, len(keys), size, sharey=True)
    panels = grid[0]
    for axes, key in zip(panels, keys):
        for y, row in enumerate(rows):
            if not isinstance(row, str):
                _draw_effect_row(axes, y, results, row, key)
        _finish_effect_panel(axes, results, key, len(rows))
    for axes in panels[1:]:
        axes.tick_params(labelleft=False)
    first = panels[0]
    first.set_yticks(range(len(rows)), labels, color=style.get_ink())
    for row, tick in zip(rows, first.get_yticklabels()):
        tick.set_fontweight("bold" if isinstance(row, str) else "normal")
    return figure


def _choose_size(num_panels: int, labels: Sequence[str]) -> tuple[float, float]:
    """Return width and height in inches."""
    num_lines = max(label.count("\n") + 1 for label in labels)
    row_height = ROW_HEIGHT + LINE_HEIGHT * (num_lines - 1)
    return 5.4 + 3.8 * num_panels, 0.7 + row_height * len(labels)


def _finish_effect_panel(axes: Axes, results: Results, key: ScoreKey, num_rows: int) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(6 if len(results.primary_scores) == 1 else 5))
    axes.axvline(0, color=style.get_ink(), linewidth=0.9, zorder=1)
    axes.set_ylim(num_rows - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.04)
    axes.set_xlabel(f"effect on {results.format_heading(key, 'difference')}")


def _draw_effect_row(
    axes: Axes, y: int, results: Results, contrast: Contrast, key: ScoreKey
) -> None:
    effect, verdict = results.get_effects(key)[contrast.name], results.judge(contrast, key)
    number_format = results.get_effect_format(effect, key)
    factor = number_format.factor
    color = {1: style.GOOD, -1: style.BAD}.get(verdict.sign, style.get_muted())
    if effect.mde is not None and not verdict.sign:
        mde = factor * effect.mde.value
        axes.barh(y, 2 * mde, left=-mde, height=0.62, color=style.get_grid_color(), zorder=0.5)
    if effect.low is not None and effect.high is not None:
        axes.plot(
            [factor * effect.low, factor * effect.high],
            [y, y],
            color=color,
            linewidth=2.6,
            solid_capstyle="butt",
            zorder=2,
        )
    axes.plot(
        factor * np.array(effect.values),
        np.full(len(effect.values), y + 0.24),
        "o",
        markersize=3.2,
        markerfacecolor="none",
        markeredgecolor=style.get_muted(),
        markeredgewidth=0.8,
        zorder=3,
    )
    if effect.mean is not None and len(effect.values) > 1:
        marker_color = color if contrast.primary else matplotlib.rcParams["axes.facecolor"]
        axes.plot(
            factor * effect.mean,
            y,
            "D",
            markersize=5.5,
            color=color,
            markerfacecolor=marker_color,
            markeredgewidth=1.5,
            zorder=4,
        )
    axes.text(
        1.02,
        y,
        f"{number_format.format_signed(effect.mean)}  {_format_verdict(results, verdict, effect)}",
        transform=axes.get_yaxis_transform(),
        va="center",
        color=color,
        fontweight="bold" if contrast.primary and verdict.sign else "normal",
    )


def _format_verdict(results: Results, verdict: Verdict, effect: Effect) -> str:
    """Return the verdict of a row; where there are several panels, without its seeds."""
    text = verdict.text if len(results.primary_scores) == 1 else verdict.word + verdict.mark
    return text + formatting.format_exclusions({"diverged": effect.num_diverged})


def draw_interactions(results: Results, *, ax: style.AxesLike | None = None) -> Figure:
    """Draw a panel for each pair of crossed components, and a row per primary score."""
    crossed_components = [
        c.name
        for c in results.plan.components
        if any(c.name in a.levels for a in results.plan.arms)
    ]
    pairs = list(combinations(crossed_components, 2))
    if not pairs:
        raise style.FigureSkipped("fewer than two components are crossed")
    if len(crossed_components) > MAX_CROSSED or results.plan.design not in CROSSED_DESIGNS:
        raise style.FigureSkipped("the arms are not all combinations of at most four components")
    crossed_arms = [a for a in results.plan.arms if a.role == "crossed"]
    values_by_score = {
        key: [_average_by_levels(results.observations[key], crossed_arms, *p) for p in pairs]
        for key in results.primary_scores
        if any(results.observations[key].values.values())
    }
    if not values_by_score:
        raise style.FigureSkipped("no seed has every arm of the crossed design")
    num_rows = len(values_by_score)
    size = (9.2, 3.1 * num_rows)
    figure, rows = style.create_panels(ax, num_rows, len(pairs), size, sharey="row")
    for panels, (key, values_by_pair) in zip(rows, values_by_score.items()):
        score_format = results.get_score_format(key)
        for axes, pair, values in zip(panels, pairs, values_by_pair):
            _draw_interaction(axes, results, pair, values, score_format.factor)
        panels[0].set_ylabel(results.format_heading(key, "value"))
    return figure


def _draw_interaction(
    axes: Axes,
    results: Results,
    pair: tuple[str, str],
    values: Mapping[tuple[bool, bool], Floats],
    factor: float,
) -> None:
    component_labels = {c.name: c.label for c in results.plan.components}
    for on, color, marker in ((False, PALETTE[1], "s"), (True, PALETTE[0], "o")):
        seed_values = factor * np.array([values[False, on], values[True, on]]).T
        seed_lines = [np.column_stack([(0, 1), ends]) for ends in seed_values]
        style.draw_thin_lines(axes, seed_lines, color, alpha=0.45)
        axes.plot(
            [0, 1],
            seed_values.mean(0),
            color=color,
            linewidth=2.2,
            marker=marker,
            label="on" if on else "off",
        )
    axes.set_xticks([0, 1], ["off", "on"])
    axes.set_xlim(-0.25, 1.25)
    axes.set_xlabel(component_labels[pair[0]])
    axes.legend(
        title=component_labels[pair[1]],
        alignment="left",
        fontsize=style.scale_font(8),
        title_fontsize=style.scale_font(8),
        loc="best",
    )
    axes.grid(axis="x", visible=False)


def _average_by_levels(
    observations: Observations, crossed_arms: Sequence[Arm], first: str, second: str
) -> dict[tuple[bool, bool], Floats]:
    """Return (first on, second on) -> mean score over the arms of these levels, shape (seeds,)."""
    arms_by_level = {
        (first_level, second_level): [
            a.name
            for a in crossed_arms
            if (a.levels[first], a.levels[second]) == (first_level, second_level)
        ]
        for first_level in (False, True)
        for second_level in (False, True)
    }
    seeds = [
        s
        for s in observations.seeds
        if all(s in observations.values.get(a.name, {}) for a in crossed_arms)
    ]
    if not seeds or not all(arms_by_level.values()):
        raise style.FigureSkipped("no seed has every arm of the crossed design")
    return {
        levels: np.array([[observations.values[a][s] for a in arms] for s in seeds]).mean(1)
        for levels, arms in arms_by_level.items()
    }
