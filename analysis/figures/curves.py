"""Figures of training: learning curves, temperatures and offsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.figures.palette import LineStyle
from uniclip.store import Arm

if TYPE_CHECKING:
    from pandas.core.groupby import SeriesGroupBy

MAX_MARKERS = 5
"""Largest number of points of a curve that are marked; a single point would have no line."""
X_AXIS_LABELS = {
    "step": "steps",
    "seconds": "training seconds",
    "images_seen": "images seen, all views (thousands)",
}


def select_validations(history: pd.DataFrame) -> pd.DataFrame:
    """Return one row per validation: arm, seed, step, score, seconds, images_seen (thousands).

    Training records log the images; those of a validation follow from its step and the arm's images
    per step.
    """
    rows = history[history["phase"] == "validation"].copy()
    if rows.empty:
        return rows
    train_rows = history[(history["phase"] == "train") & (history["step"] > 0)]
    if "images_seen" in train_rows:
        images = pd.to_numeric(train_rows["images_seen"], errors="coerce")
        images_per_step = (images / train_rows["step"]).groupby(train_rows["arm"]).median()
        rows["images_seen"] = rows["arm"].map(images_per_step) * rows["step"] / 1000
    return rows


def draw_learning_curves(
    history: pd.DataFrame,
    arms: Sequence[Arm],
    reference: str,
    *,
    ax: style.AxesLike | None = None,
) -> Figure:
    """Draw the validation score against steps, seconds and images, with one line per arm.

    Args:
        history: metric records of all runs.
        arms: arms of the plan.
        reference: name of the reference arm.
        ax: Axes to draw in (`style.create_panels`); None for a new figure.
    """
    rows = select_validations(history)
    if rows.empty or "score" not in rows:
        raise style.FigureSkipped("no validation was logged")
    rows["score"] *= 100
    x_columns = [x for x in X_AXIS_LABELS if x in rows and rows[x].notna().any()]
    figure, grid = style.create_panels(ax, 1, len(x_columns), (9.2, 4.6), sharey=True)
    panels = grid[0]
    line_styles = style.assign_line_styles(arms, reference)
    for axes, x in zip(panels, x_columns):
        for arm in arms:
            arm_rows = rows[rows["arm"] == arm.name]
            if arm_rows.empty:
                continue
            by_step = arm_rows.groupby("step")
            _draw_mean_and_range(
                axes, by_step[x].mean(), by_step["score"], line_styles[arm.name], arm.label
            )
        axes.set_xlabel(X_AXIS_LABELS[x])
        axes.set_xlim(left=0)
    panels[0].set_ylabel("validation R@1 (%)")
    style.add_arm_legend(figure, panels[0], ax)
    return figure


def draw_loss_curves(
    history: pd.DataFrame,
    arms: Sequence[Arm],
    reference: str,
    *,
    ax: style.AxesLike | None = None,
) -> Figure:
    """Draw the training loss against steps, with one line per arm.

    The arguments are those of `draw_learning_curves`.
    """
    if "loss" not in history:
        raise style.FigureSkipped("no training loss was logged")
    rows = history[(history["phase"] == "train") & history["loss"].notna()]
    if rows.empty:
        raise style.FigureSkipped("no training loss was logged")
    figure, grid = style.create_panels(ax, 1, 1, (9.2, 3.8))
    axes = grid[0, 0]
    line_styles = style.assign_line_styles(arms, reference)
    for arm in arms:
        by_step = rows[rows["arm"] == arm.name].groupby("step")["loss"]
        _draw_mean_and_range(axes, by_step.mean().index, by_step, line_styles[arm.name], arm.label)
    axes.set_xlabel("steps")
    axes.set_ylabel("training loss")
    axes.set_xlim(left=0)
    style.add_arm_legend(figure, axes, ax)
    return figure


def _draw_mean_and_range(
    axes: Axes,
    x_values: pd.Index[float] | pd.Series[float],
    by_step: SeriesGroupBy[float, float],
    line_style: LineStyle,
    label: str,
) -> None:
    """Draw the mean over seeds as a line, or as points if they are few, and the range as a band."""
    if not len(x_values):
        return
    axes.plot(
        x_values,
        by_step.mean(),
        color=line_style.color,
        linestyle=line_style.linestyle,
        linewidth=line_style.linewidth,
        marker="o" if len(x_values) <= MAX_MARKERS else "",
        markersize=4,
        label=label,
    )
    axes.fill_between(
        x_values, by_step.min(), by_step.max(), color=line_style.color, alpha=0.08, linewidth=0
    )
    if len(x_values) == 1:  # the range of a single point has no width: a bar shows it
        axes.vlines(x_values, by_step.min(), by_step.max(), color=line_style.color, linewidth=1)


def draw_temperatures(
    history: pd.DataFrame, reference: str, *, ax: style.AxesLike | None = None
) -> Figure:
    """Draw temperatures and offsets (b minus b of image-text) of the reference arm's domain pairs.

    The arguments are those of `draw_learning_curves`.
    """
    required_columns = [
        f"{kind}_{pair}" for kind in ("tau", "b") for pair in style.DOMAIN_PAIR_COLORS
    ]
    if not set(required_columns) <= set(history):
        raise style.FigureSkipped("the reference arm logs no temperatures")
    rows = history[(history["phase"] == "train") & (history["arm"] == reference)]
    rows = rows.dropna(subset=required_columns)
    if rows.empty:
        raise style.FigureSkipped("the reference arm logs no temperatures")
    figure, grid = style.create_panels(ax, 1, 2, (9.2, 3.2))
    temperature_axes, offset_axes = grid[0]
    pair_labels = {"ii": "image-image", "it": "image-text", "tt": "text-text"}
    for pair, color in style.DOMAIN_PAIR_COLORS.items():
        _draw_seed_curves(temperature_axes, rows, rows[f"tau_{pair}"], color, pair_labels[pair])
        _draw_seed_curves(
            offset_axes, rows, rows[f"b_{pair}"] - rows["b_it"], color, pair_labels[pair]
        )
    temperature_axes.set_ylabel("temperature tau")
    offset_axes.set_ylabel("b minus b of image-text")
    for axes in (temperature_axes, offset_axes):
        axes.set_xlabel("steps")
        axes.margins(x=0.02)
    temperature_axes.legend(fontsize=style.scale_font(8))
    return figure


def _draw_seed_curves(
    axes: Axes, rows: pd.DataFrame, values: pd.Series[float], color: str, label: str
) -> None:
    points = pd.DataFrame({"step": rows["step"], "value": values})
    seed_lines = [line.to_numpy(float) for _, line in points.groupby(rows["seed"])]
    style.draw_thin_lines(axes, seed_lines, color, alpha=0.5)
    mean = values.groupby(rows["step"]).mean()
    axes.plot(mean.index, mean, color=color, linewidth=2.2, label=label)
