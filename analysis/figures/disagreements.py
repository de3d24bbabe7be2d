"""Figure of test images on which two arms disagree, with their outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from analysis.figures import fonts, style
from analysis.figures.examples import show_image
from uniclip.frames.store_frames import TestImages

NUM_COLUMNS = 4
MAX_NAME_LENGTH = 30
"""Longest name, in columns, that fits above its image."""


@dataclass(frozen=True)
class ItemOutcomes:
    """Mean outcomes of one test sample in two arms."""

    first: float
    second: float


def draw_disagreements(
    test_images: TestImages,
    outcomes: Sequence[ItemOutcomes],
    arm_labels: tuple[str, str],
    *,
    ax: style.AxesLike | None = None,
) -> Figure:
    """Draw a grid of images, each with its name and its outcomes in two arms.

    Args:
        test_images: n images.
        outcomes: n outcomes.
        arm_labels: labels of the arms.
        ax: Axes to draw in (`style.create_panels`); None for a new figure.
    """
    if not len(test_images.images):
        raise style.FigureSkipped("the two arms agree on every test sample")
    rows = -(-len(outcomes) // NUM_COLUMNS)
    figure, grid = style.create_panels(ax, rows, NUM_COLUMNS, (9.2, 2.3 * rows))
    for axes in grid.flat:
        axes.axis("off")
    for i, (axes, outcome) in enumerate(zip(grid.flat, outcomes)):
        show_image(axes, test_images.images[i])
        captions = test_images.names or tuple(c[0] for c in test_images.captions)
        title = fonts.shorten(" ".join(captions[i].split()), MAX_NAME_LENGTH)
        axes.set_title(title, fontsize=style.scale_font(7.5), loc="center", fontweight="normal")
        lines = [
            f"{fonts.shorten(label, MAX_NAME_LENGTH)}: {value:.3g}"
            for label, value in zip(arm_labels, (outcome.first, outcome.second))
        ]
        axes.set_xlabel("\n".join(lines), fontsize=style.scale_font(7))
    return figure
