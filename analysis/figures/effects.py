"""Figures of effects: every contrast with its seeds and interval, and interactions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import formatting
from analysis.figures import style
from analysis.results.results import Results
from analysis.statistics.effects import Effect, Floats, Observations
from uniclip.store import Arm, Contrast

CONTRAST_GROUPS = {
    "main": "Main effects",
    "interaction": "Interactions",
    "difference": "Single differences",
    "noise": "Noise floor",
}


def draw_effects(results: Results) -> Figure:
    """Draw a row per contrast: its seeds, interval, mean and verdict."""
    rows: list[tuple[Contrast, Effect] | str] = []
    for kind, title in CONTRAST_GROUPS.items():
        group_rows = [(c, results.effects[c.name]) for c in results.select_contrasts(kind)]
        group_rows = [(c, e) for c, e in group_rows if e.values]
        rows += [title, *group_rows] if group_rows else []
    if not rows:
        raise style.FigureSkipped("no contrast has a seed that all of its arms completed")
    figure = style.create_figure(9.2, 0.7 + 0.31 * len(rows))
    axes = figure.subplots()
    for y, row in enumerate(rows):
        if not isinstance(row, str):
            _draw_effect_row(axes, y, results, row[0])
    axes.set_yticks(
        range(len(rows)), [r if isinstance(r, str) else r[0].label for r in rows], color=style.INK
    )
    for row, tick in zip(rows, axes.get_yticklabels()):
        tick.set_fontweight("bold" if isinstance(row, str) else "normal")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.axvline(0, color=style.INK, linewidth=0.9, zorder=1)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.04)
    score_label = formatting.format_score_label(results.plan.primary_metric.metric)
    unit = results.get_score_format().difference_unit
    axes.set_xlabel(f"effect on {score_label}" + (f" ({unit})" if unit else ""))
    return figure


def _draw_effect_row(axes: Axes, y: int, results: Results, contrast: Contrast) -> None:
    effect, verdict = results.effects[contrast.name], results.judge(contrast)
    number_format = results.get_effect_format(effect)
    factor = number_format.factor
    color = {1: style.GOOD, -1: style.BAD}.get(verdict.sign, style.MUTED)
    if effect.mde is not None and not verdict.sign:
        mde = factor * effect.mde.value
        axes.barh(y, 2 * mde, left=-mde, height=0.62, color=style.GRID, zorder=0.5)
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
        markeredgecolor=style.MUTED,
        markeredgewidth=0.8,
        zorder=3,
    )
    if effect.mean is not None and len(effect.values) > 1:
        marker_color = color if contrast.primary else "white"
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
    diverged_text = formatting.format_exclusions({"diverged": effect.num_diverged})
    axes.text(
        1.02,
        y,
        f"{number_format.format_signed(effect.mean)}  {verdict.text}{diverged_text}",
        transform=axes.get_yaxis_transform(),
        va="center",
        color=color,
        fontweight="bold" if contrast.primary and verdict.sign else "normal",
    )


def draw_interactions(results: Results) -> Figure:
    """Draw a panel for each pair of crossed components."""
    crossed_components = [
        c.name
        for c in results.plan.components
        if any(c.name in a.levels for a in results.plan.arms)
    ]
    pairs = list(combinations(crossed_components, 2))
    if not pairs:
        raise style.FigureSkipped("fewer than two components are crossed")
    observations = results.observations[results.primary_score]
    crossed_arms = [a for a in results.plan.arms if a.role == "crossed"]
    score_format = results.get_score_format()
    values_by_pair = [_average_by_levels(observations, crossed_arms, *pair) for pair in pairs]
    figure = style.create_figure(9.2, 3.1)
    panels = figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
    component_labels = {c.name: c.label for c in results.plan.components}
    for axes, (first, second), values in zip(panels, pairs, values_by_pair):
        for on, color, marker in ((False, style.PALETTE[1], "s"), (True, style.PALETTE[0], "o")):
            seed_values = score_format.factor * np.array([values[False, on], values[True, on]]).T
            seed_lines = [np.column_stack([(0, 1), pair]) for pair in seed_values]
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
        axes.set_xlabel(component_labels[first])
        axes.legend(
            title=component_labels[second],
            alignment="left",
            fontsize=8,
            title_fontsize=8,
            loc="best",
        )
        axes.grid(axis="x", visible=False)
    score_label = formatting.format_score_label(results.plan.primary_metric.metric)
    panels[0].set_ylabel(score_label + (f" ({score_format.unit})" if score_format.unit else ""))
    return figure


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
