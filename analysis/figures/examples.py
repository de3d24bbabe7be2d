"""The figure of retrieval examples: pictures, and the captions that a model finds for them."""

from __future__ import annotations

from typing import Any

from analysis.collect.predictions import Examples
from analysis.figures import style

COLUMNS = 3
LONGEST = 34
"""Characters of a caption that fit beside its picture."""
CAPTIONS = 5


def examples(found: Examples | None) -> Any:
    """A grid of pictures, each with its nearest captions; its own are marked."""
    if found is None:
        return "no run of the reference arm has kept example pictures"
    rows = -(-len(found.names) // COLUMNS)
    figure = style.blank(9.2, 1.36 * rows + 0.1)
    grid = figure.subplots(rows, COLUMNS * 2, squeeze=False, width_ratios=[1, 1.75] * COLUMNS)
    for axes in grid.flat:
        axes.axis("off")
    for i in range(len(found.names)):
        row, column = divmod(i, COLUMNS)
        picture = grid[row, 2 * column]
        picture.imshow(found.pixels[i].transpose(1, 2, 0), interpolation="nearest")
        picture.axis("on")
        picture.grid(False)
        picture.set(xticks=[], yticks=[])
        picture.spines[:].set(visible=True, color=style.GRID)
        _captions(grid[row, 2 * column + 1], found, i)
    return figure


def _captions(axes: Any, found: Examples, i: int) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    shown = list(zip(found.captions[i], found.right[i], found.similarity[i]))[:CAPTIONS]
    for j, (caption, right, similarity) in enumerate(shown):
        text = caption if len(caption) <= LONGEST else caption[: LONGEST - 3].rstrip() + "..."
        y = 0.88 - j * 0.19
        color = style.GOOD if right else style.QUIET
        axes.plot(
            0.03,
            y,
            "o",
            markersize=4.2,
            color=color,
            markerfacecolor=color if right else "none",
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
            fontweight="bold" if right else "normal",
            clip_on=False,
        )
