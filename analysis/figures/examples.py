"""Figure of retrieval examples: test images, and the captions retrieved for them."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.collect.predictions import RetrievalExamples
from analysis.figures import fonts, style

NUM_COLUMNS = 3
MAX_CAPTION_LENGTH = 34
"""Longest caption, in columns, that fits next to its image."""
CAPTIONS_PER_IMAGE = 5


def draw_retrieval_examples(
    retrieval_examples: RetrievalExamples | None, *, ax: style.AxesLike | None = None
) -> Figure:
    """Draw a grid of images, each with its nearest captions; correct ones are marked.

    Args:
        retrieval_examples: the images; None if no run saved some.
        ax: Axes to draw in (`style.create_panels`); None for a new figure.
    """
    if retrieval_examples is None:
        raise style.FigureSkipped("no run of the reference arm saved example images")
    rows = -(-len(retrieval_examples.image_names) // NUM_COLUMNS)
    figure, grid = style.create_panels(
        ax,
        rows,
        NUM_COLUMNS * 2,
        (9.2, 1.36 * rows + 0.1),
        width_ratios=[1, 1.75] * NUM_COLUMNS,
    )
    for axes in grid.flat:
        axes.axis("off")
    for i in range(len(retrieval_examples.image_names)):
        row, column = divmod(i, NUM_COLUMNS)
        show_image(grid[row, 2 * column], retrieval_examples.images[i])
        _draw_captions(grid[row, 2 * column + 1], retrieval_examples, i)
    return figure


def show_image(axes: Axes, image: NDArray[np.uint8]) -> None:
    """Draw an RGB image (3, height, width) with a frame and without ticks."""
    axes.imshow(image.transpose(1, 2, 0), interpolation="nearest")
    axes.axis("on")
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=style.get_grid_color())


def _draw_captions(axes: Axes, retrieval_examples: RetrievalExamples, i: int) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    visible_captions = list(
        zip(
            retrieval_examples.captions[i],
            retrieval_examples.is_correct[i],
            retrieval_examples.similarities[i],
        )
    )[:CAPTIONS_PER_IMAGE]
    for j, (caption, is_correct, similarity) in enumerate(visible_captions):
        text = fonts.shorten(" ".join(caption.split()), MAX_CAPTION_LENGTH)
        y = 0.88 - j * 0.19
        color = style.GOOD if is_correct else style.get_muted()
        axes.plot(
            0.03,
            y,
            "o",
            markersize=4.2,
            color=color,
            markerfacecolor=color if is_correct else "none",
            markeredgewidth=0.8,
            clip_on=False,
        )
        axes.text(
            0.11,
            y,
            f"{text}  {similarity:.2f}",
            fontsize=style.scale_font(6.6),
            va="center",
            color=color,
            fontweight="bold" if is_correct else "normal",
            clip_on=False,
        )
