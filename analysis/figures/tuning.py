"""Figures of a tuning: best score against trials, importances, slices, parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from analysis.figures import style
from analysis.results.results import Results
from analysis.results.tuning_trials import BAND, TuningTrials, scale_value
from uniclip.store import Trial

SCORE_LABEL = "validation score (%)"
SLICES_PER_ROW, ARMS_PER_ROW = 3, 2
COLORMAP = "cividis"
"""Colours of scores, from the lowest to the highest; distinguishable by the colour-blind."""


def draw_tuning_curves(results: Results, *, ax: style.AxesLike | None = None) -> Figure:
    """Draw the expected best score against the number of trials, with one line per arm."""
    tuning_trials = _require_trials(results)
    figure, grid = style.create_panels(ax, 1, 1, (9.2, 4.2))
    axes = grid[0, 0]
    line_styles = style.assign_line_styles(results.plan.arms, results.plan.reference)
    for arm, curve in tuning_trials.curves.items():
        numbers = np.arange(1, len(curve.expected) + 1)
        line = line_styles[arm]
        axes.plot(
            numbers,
            100 * curve.expected,
            color=line.color,
            linestyle=line.linestyle,
            linewidth=line.linewidth,
            label=results.get_arm_label(arm),
        )
        axes.fill_between(
            numbers, 100 * curve.low, 100 * curve.high, color=line.color, alpha=0.1, linewidth=0
        )
        axes.step(numbers, 100 * curve.observed, where="post", color=line.color, linewidth=0.7)
    axes.set_xlabel("trials")
    axes.set_ylabel(f"best {SCORE_LABEL}")
    axes.set_xlim(left=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.add_arm_legend(figure, axes, ax)
    return figure


def draw_importances(results: Results, *, ax: style.AxesLike | None = None) -> Figure:
    """Draw the importance of each key as a bar per arm."""
    importances = _require_trials(results).importances
    if not importances:
        raise style.FigureSkipped("no arm has enough completed trials with different scores")
    keys = list(dict.fromkeys(key for values in importances.values() for key in values))
    size = (9.2, 1.2 + 0.13 * len(keys) * (len(importances) + 2))
    figure, grid = style.create_panels(ax, 1, 1, size)
    axes = grid[0, 0]
    line_styles = style.assign_line_styles(results.plan.arms, results.plan.reference)
    height = 0.8 / len(importances)
    for i, (arm, values) in enumerate(importances.items()):
        axes.barh(
            np.arange(len(keys)) + (i - (len(importances) - 1) / 2) * height,
            [values.get(key, 0.0) for key in keys],
            height=0.9 * height,
            color=line_styles[arm].color,
            label=results.get_arm_label(arm),
        )
    axes.set_yticks(range(len(keys)), keys)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("importance")
    axes.grid(axis="y", visible=False)
    style.add_arm_legend(figure, axes, ax)
    return figure


def draw_slices(results: Results, *, ax: style.AxesLike | None = None) -> Figure:
    """Draw the score of every trial against the value of each key, with one colour per arm."""
    tuning_trials = _require_trials(results)
    keys = list(tuning_trials.dimensions)
    figure, panels = _create_panels(ax, len(keys), SLICES_PER_ROW, 2.8)
    line_styles = style.assign_line_styles(results.plan.arms, results.plan.reference)
    for axes, key in zip(panels, keys):
        for arm, trials in tuning_trials.trials.items():
            active_trials = [t for t in trials if key in t.params]
            _draw_slice(
                axes,
                tuning_trials.dimensions[key],
                [t.params[key] for t in active_trials],
                active_trials,
                line_styles[arm].color,
                results.get_arm_label(arm),
            )
        axes.set_xlabel(key)
    panels[0].set_ylabel(SCORE_LABEL)
    style.add_arm_legend(figure, panels[0], ax)
    return figure


def draw_parallel_coordinates(results: Results, *, ax: style.AxesLike | None = None) -> Figure:
    """Draw each completed trial as a line through its values, with one panel per arm."""
    tuning_trials = _require_trials(results)
    arms = [a for a, trials in tuning_trials.trials.items() if any(t.completed for t in trials)]
    if not arms:
        raise style.FigureSkipped("no trial was completed")
    figure, panels = _create_panels(ax, len(arms), ARMS_PER_ROW, 2.6)
    for axes, arm in zip(panels, arms):
        _draw_parallel_panel(axes, tuning_trials, tuning_trials.trials[arm])
        axes.set_title(results.get_arm_label(arm), fontsize=style.scale_font(9))
    return figure


def describe_band() -> str:
    """Return what the band of a tuning curve shows."""
    low, high = (round(100 * quantile) for quantile in BAND)
    return f"{low} % to {high} % quantile of the best score"


def _require_trials(results: Results) -> TuningTrials:
    if results.tuning_trials is None:
        raise style.FigureSkipped("the trials are not in the store, or of an earlier version")
    return results.tuning_trials


def _create_panels(
    ax: style.AxesLike | None, number: int, per_row: int, height: float
) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels, at most `per_row` in a row."""
    num_rows, num_columns = math.ceil(number / per_row), min(number, per_row)
    figure, grid = style.create_panels(ax, num_rows, num_columns, (9.2, height * num_rows))
    panels = list(grid.flat)
    for axes in panels[number:]:
        axes.set_visible(False)
    return figure, panels[:number]


def _draw_slice(
    axes: Axes,
    dimension: Mapping[str, Any],
    values: Sequence[Any],
    trials: Sequence[Trial],
    color: str,
    label: str,
) -> None:
    choices = dimension.get("choices")
    if choices is not None:
        positions = [list(choices).index(value) for value in values]
        axes.set_xticks(range(len(choices)), [str(choice) for choice in choices])
    else:
        positions = list(values)
        if dimension.get("log"):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
    axes.scatter(
        positions,
        [100 * t.score for t in trials],
        s=16,
        facecolors=[color if t.completed else "none" for t in trials],
        edgecolors=color,
        linewidths=0.8,
        label=label,
    )


def _draw_parallel_panel(axes: Axes, tuning_trials: TuningTrials, trials: Sequence[Trial]) -> None:
    import matplotlib

    dimensions = tuning_trials.dimensions
    completed = sorted((t for t in trials if t.completed), key=lambda t: t.score)
    scores = [t.score for t in completed]
    low, spread = scores[0], (scores[-1] - scores[0]) or 1.0
    colormap = matplotlib.colormaps[COLORMAP]
    for trial in completed:
        share = (trial.score - low) / spread
        heights = [
            scale_value(dimension, trial.params[key]) if key in trial.params else np.nan
            for key, dimension in dimensions.items()
        ]
        axes.plot(
            range(len(heights) + 1),
            [*heights, share],
            color=colormap(share),
            linewidth=0.8 + 1.2 * share,
            marker=".",
        )
    limits = [_format_ends(dimension) for dimension in dimensions.values()]
    limits.append((f"{100 * low:.1f} %", f"{100 * scores[-1]:.1f} %"))
    names = [key.rsplit(".", 1)[-1] for key in dimensions]
    labels = [f"{name}\n{ends[0]} to {ends[1]}" for name, ends in zip([*names, "score"], limits)]
    axes.set_xticks(range(len(labels)), labels, fontsize=style.scale_font(6))
    axes.set_yticks([])
    axes.set_ylim(-0.05, 1.05)


def _format_ends(dimension: Mapping[str, Any]) -> tuple[str, str]:
    choices = dimension.get("choices")
    ends = (dimension["low"], dimension["high"]) if choices is None else (choices[0], choices[-1])
    return str(ends[0]), str(ends[1])
