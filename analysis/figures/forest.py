"""Forest plots: the effect of a contrast on each data set, and its means over them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import formatting
from analysis.figures import style
from analysis.results.dataset_means import AveragedEffect, average_effects
from analysis.results.results import Results
from analysis.statistics.dataset_means import Interval
from analysis.statistics.effects import Effect

MAX_CONTRASTS = 12
"""Contrasts that are drawn: the primary ones first."""
NUM_COLUMNS = 3
TITLE_WIDTH = 38
"""Characters of a line of a title."""
LATER_RANKS = (".r5", ".r10")
"""Ends of scores that a report does not draw beside recall at 1."""
MEAN_LABELS = ("mean, these sets", "mean, new sets")
NO_MEAN = "no contrast has a score that two data sets share"


def list_forest_scores(results: Results) -> list[str]:
    """Return the scores that a report draws: those that data sets share, of recalls that at 1."""
    scores = dict.fromkeys(a.column.score for a in average_effects(results))
    return [score for score in scores if not score.endswith(LATER_RANKS)]


def draw_forest(
    results: Results, *, score: str | None = None, ax: style.AxesLike | None = None
) -> Figure:
    """Draw the effects by data set, a panel per contrast on one scale, and their means below.

    Args:
        results: results of a sweep.
        score: the score, such as "probe"; None for the first one that data sets share.
        ax: Axes to draw in; None for a new figure.
    """
    averaged_effects = [
        a for a in average_effects(results) if score is None or a.column.score == score
    ]
    if not averaged_effects:
        raise style.FigureSkipped(NO_MEAN)
    column = averaged_effects[0].column
    drawn = sorted(
        (a for a in averaged_effects if a.column == column), key=lambda a: not a.contrast.primary
    )[:MAX_CONTRASTS]
    labels = [*column.datasets, *MEAN_LABELS]
    num_columns = min(NUM_COLUMNS, len(drawn))
    num_rows = -(-len(drawn) // num_columns)
    size = (1.5 + 3.0 * num_columns, num_rows * (1.5 + 0.27 * len(labels)))
    figure, grid = style.create_panels(ax, num_rows, num_columns, size, sharex=True, sharey=True)
    for axes, averaged in zip(grid.flat, drawn):
        _draw_panel(axes, averaged)
        axes.tick_params(labelbottom=True)
    for axes in grid.flat[len(drawn) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_yticks(range(len(labels)), labels, color=style.get_ink())
        for tick in axes.get_yticklabels()[len(column.datasets) :]:
            tick.set_fontweight("bold")
    for axes in grid[:, 1:].flat:
        axes.tick_params(labelleft=False)
    return figure


def _draw_panel(axes: Axes, averaged: AveragedEffect) -> None:
    number_format = formatting.make_number_format(averaged.column.kind, None)
    factor, estimate = number_format.factor, averaged.estimate
    names = averaged.column.datasets
    for y, name in enumerate(names):
        _draw_dataset(axes, y, averaged.by_dataset[name], factor)
    fixed = estimate.seeds_and_items or estimate.seeds
    _draw_mean(axes, len(names), estimate.mean, fixed, factor)
    _draw_mean(axes, len(names) + 1, estimate.mean, estimate.seeds_sets_and_items, factor)
    axes.axvline(0, color=style.get_ink(), linewidth=0.9, zorder=1)
    axes.axhline(len(names) - 0.5, color=style.get_grid_color(), linewidth=0.9, zorder=1)
    axes.set_ylim(len(names) + len(MEAN_LABELS) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    unit = f" ({number_format.difference_unit})" if number_format.difference_unit else ""
    label = formatting.format_score_label(averaged.column.score)
    axes.set_xlabel(f"effect on {label}{unit}")
    title = "\n".join(textwrap.wrap(averaged.contrast.label, TITLE_WIDTH))
    axes.set_title(title, fontsize=style.scale_font(9))


def _draw_dataset(axes: Axes, y: int, effect: Effect, factor: float) -> None:
    if effect.low is not None and effect.high is not None:
        _draw_bar(axes, y, Interval(low=effect.low, high=effect.high), factor, style.get_muted())
    if effect.mean is not None:
        axes.plot(factor * effect.mean, y, "s", markersize=4.5, color=style.get_ink(), zorder=3)


def _draw_mean(axes: Axes, y: int, mean: float, interval: Interval | None, factor: float) -> None:
    """Draw a mean; it is coloured where its interval leaves out 0."""
    color = style.get_ink()
    if interval is not None and interval.excludes_zero:
        color = style.GOOD if mean > 0 else style.BAD
    if interval is not None:
        _draw_bar(axes, y, interval, factor, color)
    axes.plot(factor * mean, y, "D", markersize=6, color=color, zorder=3)


def _draw_bar(axes: Axes, y: int, interval: Interval, factor: float, color: str) -> None:
    ends: Sequence[float] = (factor * interval.low, factor * interval.high)
    axes.plot(ends, [y, y], color=color, linewidth=2.2, solid_capstyle="butt", zorder=2)
