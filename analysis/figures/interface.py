"""Figures as functions of results: each returns a figure that can be edited and saved.

They obey the user's rcParams. Every function takes `ax` (Axes to draw in: one, which is divided if
the figure has several panels, or one per panel; None for a new figure) and `mplstyle` (whatever
`matplotlib.style.context` takes: a name, a path, a mapping, or a list of these; `FIGURE_STYLE` is
that of the report). If there is nothing to draw, the figure says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.collect.predictions import load_examples
from analysis.figures import (
    curves,
    disagreements,
    effects,
    examples,
    fonts,
    forest,
    style,
    tuning,
)
from analysis.results.results import Results
from uniclip.errors import UserError
from uniclip.frames.store_frames import StoreFrames

AxesLike = Axes | Sequence[Axes]
StyleLike = str | Path | Mapping[str, Any] | Sequence[str | Path | Mapping[str, Any]]
FIGURE_STYLE: dict[str, Any] = dict(style.RC_PARAMS)
"""Style of the figures of a report, for `mplstyle=` or `plt.style.use`."""
SUFFIXES = ("png", "svg", "pdf")
"""Formats in which figures are saved."""


def draw_effects(
    results: Results, *, ax: AxesLike | None = None, mplstyle: StyleLike | None = None
) -> Figure:
    """Draw every contrast on the primary scores: its seeds, interval, mean and verdict."""
    return _draw(effects.draw_effects, results, ax=ax, mplstyle=mplstyle)


def draw_interactions(
    results: Results, *, ax: AxesLike | None = None, mplstyle: StyleLike | None = None
) -> Figure:
    """Draw the mean score with one component off and on while another one is off or on."""
    return _draw(effects.draw_interactions, results, ax=ax, mplstyle=mplstyle)


def draw_forest(
    results: Results,
    score: str | None = None,
    *,
    ax: AxesLike | None = None,
    mplstyle: StyleLike | None = None,
) -> Figure:
    """Draw the effects on each published data set and their means over them, a panel per contrast.

    Args:
        results: results of a sweep.
        score: the score, such as "probe"; None for the first one that data sets share.
        ax: Axes to draw in.
        mplstyle: style of the figure.
    """
    return _draw(partial(forest.draw_forest, score=score), results, ax=ax, mplstyle=mplstyle)


def draw_learning_curves(
    results: Results, *, ax: AxesLike | None = None, mplstyle: StyleLike | None = None
) -> Figure:
    """Draw the validation score against steps, training seconds and images, a line per arm.

    The line is the mean over seeds; the band reaches from the lowest to the highest seed.
    """
    plan, history = results.plan, results.sweep_data.history
    arguments = (history, plan.arms, plan.reference)
    return _draw(curves.draw_learning_curves, *arguments, ax=ax, mplstyle=mplstyle)


def draw_loss_curves(
    results: Results, *, ax: AxesLike | None = None, mplstyle: StyleLike | None = None
) -> Figure:
    """Draw the training loss against steps, a line per arm, as `draw_learning_curves`."""
    plan, history = results.plan, results.sweep_data.history
    arguments = (history, plan.arms, plan.reference)
    return _draw(curves.draw_loss_curves, *arguments, ax=ax, mplstyle=mplstyle)


def draw_temperatures(
    results: Results, *, ax: AxesLike | None = None, mplstyle: StyleLike | None = None
) -> Figure:
    """Draw temperature and offset of each domain pair of the reference arm against steps."""
    arguments = (results.sweep_data.history, results.plan.reference)
    return _draw(curves.draw_temperatures, *arguments, ax=ax, mplstyle=mplstyle)


def draw_retrieval_examples(
    store: StoreFrames,
    results: Results,
    *,
    ax: AxesLike | None = None,
    mplstyle: StyleLike | None = None,
) -> Figure:
    """Draw test images with the captions that the reference arm retrieves for them."""
    saved_examples = load_examples(store.store, results.plan)
    return _draw(examples.draw_retrieval_examples, saved_examples, ax=ax, mplstyle=mplstyle)


def draw_disagreements(
    store: StoreFrames,
    results: Results,
    outcomes: pd.DataFrame,
    *,
    num_images: int = 8,
    ax: AxesLike | None = None,
    mplstyle: StyleLike | None = None,
) -> Figure:
    """Draw the test images on which two arms disagree most, with the outcomes of both.

    Args:
        store: the store, as `uniclip.open_store` returns it.
        results: results of a sweep in it.
        outcomes: as `tabulate_disagreements` returns them; the first rows are drawn.
        num_images: largest number of images.
        ax: Axes to draw in; None for a new figure.
        mplstyle: style; None for the user's settings.
    """
    return _draw(
        lambda ax: _draw_disagreements(store, results, outcomes, num_images, ax),
        ax=ax,
        mplstyle=mplstyle,
    )


def draw_tuning_curves(
    results: Results, *, ax: AxesLike | None = None, mplstyle: StyleLike | None = None
) -> Figure:
    """Draw the expected best validation score of a tuned sweep against the number of trials."""
    return _draw(_draw_tuned(tuning.draw_tuning_curves), results, ax=ax, mplstyle=mplstyle)


def draw_tuning_importances(
    results: Results, *, ax: AxesLike | None = None, mplstyle: StyleLike | None = None
) -> Figure:
    """Draw the importance of every tuned key, a bar per arm."""
    return _draw(_draw_tuned(tuning.draw_importances), results, ax=ax, mplstyle=mplstyle)


def draw_tuning_slices(
    results: Results, *, ax: AxesLike | None = None, mplstyle: StyleLike | None = None
) -> Figure:
    """Draw the score of every trial against the value of each tuned key."""
    return _draw(_draw_tuned(tuning.draw_slices), results, ax=ax, mplstyle=mplstyle)


def draw_tuning_coordinates(
    results: Results, *, ax: AxesLike | None = None, mplstyle: StyleLike | None = None
) -> Figure:
    """Draw each completed trial as a line through its values (parallel coordinates)."""
    draw = _draw_tuned(tuning.draw_parallel_coordinates)
    return _draw(draw, results, ax=ax, mplstyle=mplstyle)


def save_figure(figure: Figure, path: str | Path) -> list[Path]:
    """Write a figure as PNG, SVG and PDF, and return the paths of the files.

    Equal figures give equal bytes: the files contain no date. The resolution of the PNG is
    `savefig.dpi`.

    Args:
        figure: the figure; it can be edited and saved again afterwards.
        path: path of the files without a suffix; its folder exists.

    Raises:
        UserError: the folder does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise UserError(f"there is no folder {target.parent} to save the figure in")
    style.save_figure(figure, target.parent, target.name)
    return [target.with_name(f"{target.name}.{suffix}") for suffix in SUFFIXES]


def _draw(
    draw: Callable[..., Figure],
    *arguments: Any,
    ax: AxesLike | None,
    mplstyle: StyleLike | None,
) -> Figure:
    """Call a function that draws in this style; without input, return a figure with the reason."""
    chosen_style: Any = mplstyle  # matplotlib's annotation lacks mappings
    with nullcontext() if mplstyle is None else matplotlib.style.context(chosen_style):
        try:
            figure = draw(*arguments, ax=ax)
        except style.FigureSkipped as error:
            figure = _draw_reason(str(error), ax)
        fonts.prepare_texts(figure)
    return figure


def _draw_tuned(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Return a function that draws a figure of a tuning, if there was one."""

    def draw_if_tuned(results: Results, *, ax: AxesLike | None) -> Figure:
        if results.plan.tuning is None:
            raise style.FigureSkipped("the sweep was not tuned")
        return draw(results, ax=ax)

    return draw_if_tuned


def _draw_reason(reason: str, ax: AxesLike | None) -> Figure:
    figure, grid = style.create_panels(ax if isinstance(ax, Axes) else None, 1, 1, (9.2, 0.8))
    grid[0, 0].axis("off")
    grid[0, 0].text(0.5, 0.5, f"No figure: {reason}.", ha="center", va="center", wrap=True)
    return figure


def _draw_disagreements(
    store: StoreFrames,
    results: Results,
    outcomes: pd.DataFrame,
    num_images: int,
    ax: AxesLike | None,
) -> Figure:
    if outcomes.empty:
        reason = outcomes.attrs.get("note", "the runs saved no outcomes of this score")
        raise style.FigureSkipped(str(reason))
    differing = outcomes[outcomes["difference"] != 0].head(num_images)
    rows = [int(row) for row in differing.index.get_level_values("image")]
    if str(outcomes.attrs["dataset"]).partition(":")[0] != results.plan.data or -1 in rows:
        raise style.FigureSkipped("pictures are shown of the data that the sweep trains on only")
    try:
        test_images = store.load_images(results.plan.sweep_id, rows, str(outcomes.attrs["first"]))
    except UserError as error:
        raise style.FigureSkipped(f"no pictures ({error})") from None
    items = [
        disagreements.ItemOutcomes(*pair) for pair in zip(differing["first"], differing["second"])
    ]
    labels = [results.get_arm_label(str(outcomes.attrs[side])) for side in ("first", "second")]
    return disagreements.draw_disagreements(test_images, items, (labels[0], labels[1]), ax=ax)
