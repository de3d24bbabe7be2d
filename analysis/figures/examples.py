"""Figure of retrieval examples: test images, and the captions retrieved for them."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.collect.predictions import RetrievalExamples
from analysis.figures import fonts, style

NUM_COLUMNS = 3
MAX_CAPTION_LENGTH = 34
"""Longest caption, in columns, that fits next to its image."""
CAPTIONS_PER_IMAGE = 5


def draw_retrieval_examples(retrieval_examples: RetrievalExamples | None) -> Figure:
    """Draw a grid of images, each with its nearest captions; correct ones are marked."""
    if retrieval_examples is None:
        raise style.FigureSkipped("no run of the reference arm saved example images")
    rows = -(-len(retrieval_examples.image_names) // NUM_COLUMNS)
    figure = style.create_figure(9.2, 1.36 * rows + 0.1)
    grid = figure.subplots(
        rows, NUM_COLUMNS * 2, squeeze=False, width_ratios=[1, 1.75] * NUM_COLUMNS
    )
    for axes in grid.flat:
        axes.axis("off")
    for i in range(len(retrieval_examples.image_names)):
        row, column = divmod(i, NUM_COLUMNS)
        image_axes = grid[row, 2 * column]
        image_axes.imshow(retrieval_examples.images[i].transpose(1, 2, 0), interpolation="nearest")
        image_axes.axis("on")
        image_axes.grid(False)
        image_axes.set(xticks=[], yticks=[])
        image_axes.spines[:].set(visible=True, color=style.GRID)
        _draw_captions(grid[row, 2 * column + 1], retrieval_examples, i)
    return figure


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
        color = style.GOOD if is_correct else style.MUTED
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
            fontsize=6.6,
            va="center",
            color=color,
            fontweight="bold" if is_correct else "normal",
            clip_on=False,
        )
