"""Style of the figures: one colour per arm in all of them, distinguishable by the colour-blind.

The colours are those of `palette`. Files contain no date and no program name, so equal
inputs give equal bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.text import Text
from numpy.typing import ArrayLike, NDArray

from analysis.figures import fonts, palette
from analysis.figures.palette import PALETTE, LineStyle
from uniclip.errors import UserError
from uniclip.store import Arm

INK, MUTED, GRID = "#222222", "#6f6f6f", "#e6e6e6"
GOOD, BAD = "#0072B2", "#D55E00"
DOMAIN_PAIR_COLORS = {"ii": "#0072B2", "it": "#D55E00", "tt": "#009E73"}
"""Domain pair (image-image, image-text, text-text) -> colour."""
TRUETYPE, OUTLINES = 42, 3
"""Types of fonts in a PDF (`pdf.fonttype`)."""
BASE_FONT_SIZE = 9.0
"""Points of the font for which the sizes of texts are stated."""
RC_PARAMS: dict[str, Any] = {
    "axes.prop_cycle": cycler(color=PALETTE),
    "font.family": "DejaVu Sans",
    "font.size": BASE_FONT_SIZE,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "text.parse_math": False,
    "svg.hashsalt": "uniclip",
    "svg.fonttype": "path",
    "figure.facecolor": "white",
    "savefig.dpi": 160.0,
}


AxesLike = Axes | Sequence[Axes] | NDArray[Any]
"""Axes to draw in: one, which is divided if a figure has several panels, or one per panel."""


class FigureSkipped(Exception):
    """A figure cannot be drawn because its input is missing; the message is the reason."""


def assign_line_styles(arms: Sequence[Arm], reference: str) -> dict[str, LineStyle]:
    """Return arm -> line style, in the colours of the user's settings (`palette`)."""
    return palette.assign_line_styles(arms, reference, get_palette(), get_ink())


@contextmanager
def use_figure_style() -> Iterator[None]:
    """Use these settings, and none of the user's, within the block."""
    settings: Any = {**matplotlib.rcParamsDefault, "backend": "agg", **RC_PARAMS}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # such as a layout that does not fit
        yield


def draw_thin_lines(axes: Axes, lines: Sequence[ArrayLike], color: str, alpha: float) -> None:
    """Draw thin lines, each of shape (points, 2), as one artist: many artists are slow to draw."""
    axes.add_collection(
        LineCollection(
            [np.asarray(line) for line in lines], colors=color, linewidths=0.7, alpha=alpha
        )
    )
    axes.autoscale_view()


def get_palette() -> tuple[str, ...]:
    """Return the colours of arms: those of `axes.prop_cycle`, or ours if it is matplotlib's own."""
    cycle = matplotlib.rcParams["axes.prop_cycle"]
    if cycle == matplotlib.rcParamsDefault["axes.prop_cycle"]:
        return PALETTE
    return tuple(cycle.by_key().get("color", PALETTE))


def get_ink() -> str:
    """Return the colour of texts."""
    return str(matplotlib.rcParams["text.color"])


def get_muted() -> str:
    """Return the colour of what is not in the foreground: that of ticks."""
    color = str(matplotlib.rcParams["xtick.color"])
    return get_ink() if color == "inherit" else color


def get_grid_color() -> str:
    """Return the colour of grid lines and of areas behind the data."""
    return str(matplotlib.rcParams["grid.color"])


def scale_font(points: float) -> float:
    """Return the points of a text whose size is stated for a font of 9 points."""
    return points * float(matplotlib.rcParams["font.size"]) / BASE_FONT_SIZE


def create_figure(width: float, height: float) -> Figure:
    """Return an empty figure without a window.

    Width and height are in inches; a size that the user has set (`figure.figsize`) precedes.
    """
    size = tuple(matplotlib.rcParams["figure.figsize"])
    is_default = size == tuple(matplotlib.rcParamsDefault["figure.figsize"])
    return Figure(figsize=(width, height) if is_default else size, layout="constrained")


def create_panels(
    ax: AxesLike | None,
    num_rows: int,
    num_columns: int,
    size: tuple[float, float],
    **options: Any,
) -> tuple[Figure, NDArray[Any]]:
    """Return a figure and its panels, Axes of shape (num_rows, num_columns).

    Args:
        ax: Axes to draw in; None for a new figure. A single one in which several panels are to be
            drawn is hidden, and they share its place.
        num_rows: number of rows of panels.
        num_columns: number of columns.
        size: width and height of a new figure, in inches.
        options: further arguments of `Figure.subplots`.

    Raises:
        UserError: several Axes are given, but not as many as there are panels.
    """
    if ax is None:
        figure = create_figure(*size)
        return figure, figure.subplots(num_rows, num_columns, squeeze=False, **options)
    given_axes = np.array(ax, dtype=object).reshape(-1)
    owner: Any = given_axes[0].figure
    root = owner.figure if isinstance(owner, SubFigure) else owner
    if len(given_axes) == num_rows * num_columns:
        return root, given_axes.reshape(num_rows, num_columns)
    subplot_spec = given_axes[0].get_subplotspec()
    if len(given_axes) != 1 or subplot_spec is None:
        raise UserError(
            f"this figure has {num_rows * num_columns} panels: give ax= one Axes that "
            "plt.subplots made, or as many as there are panels"
        )
    given_axes[0].set_axis_off()
    grid = subplot_spec.subgridspec(num_rows, num_columns, **_take_ratios(options))
    return root, grid.subplots(squeeze=False, **options)


def _take_ratios(options: dict[str, Any]) -> dict[str, Any]:
    """Remove the options that a grid takes and its subplots do not, and return them."""
    return {n: options.pop(n) for n in ("width_ratios", "height_ratios") if n in options}


def add_arm_legend(figure: Figure, panel: Axes, ax: AxesLike | None) -> None:
    """Add the legend of a panel below a new figure, or inside the panel of the user's."""
    handles, labels = panel.get_legend_handles_labels()
    options: dict[str, Any] = {"fontsize": scale_font(8), "handlelength": 3}
    if ax is None:
        figure.legend(handles, labels, loc="outside lower center", ncols=3, **options)
    else:
        panel.legend(handles, labels, **options)


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write `<name>.png`, `.svg` and `.pdf`, with the same layout; equal figures give equal bytes.

    The canvases are used directly, because `Figure.savefig` draws a figure twice for each file. The
    fonts of a PDF are embedded as TrueType, as publishers ask; glyphs of a font in another format,
    which is used for scripts that the figures' own font lacks, as outlines. The resolution of the
    PNG is `savefig.dpi`. The figure can be edited and saved again afterwards.
    """
    canvas, dpi, layout_engine = figure.canvas, figure.dpi, figure.get_layout_engine()
    saved_dpi = matplotlib.rcParams["savefig.dpi"]
    font_type = TRUETYPE if _uses_truetype_only(figure) else OUTLINES
    try:
        figure.set_dpi(dpi if saved_dpi == "figure" else saved_dpi)
        png_canvas: Any = FigureCanvasAgg(figure)  # its methods have no type annotations
        png_canvas.print_png(folder / f"{name}.png", metadata={"Software": None})
        figure.set_layout_engine("none")
        with matplotlib.rc_context({"pdf.fonttype": font_type, "svg.hashsalt": "uniclip"}):
            svg_canvas: Any = FigureCanvasSVG(figure)
            svg_canvas.print_svg(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
            pdf_canvas: Any = FigureCanvasPdf(figure)
            metadata = {"CreationDate": None, "Creator": None, "Producer": None}
            with fonts.omit_layout_tables():
                pdf_canvas.print_pdf(folder / f"{name}.pdf", metadata=metadata)
    finally:
        figure.set_canvas(canvas)
        figure.set_dpi(dpi)
        figure.set_layout_engine(layout_engine or "none")


def _uses_truetype_only(figure: Figure) -> bool:
    """Return whether every text of a figure is set in fonts that a PDF can hold as TrueType."""
    families = {name for text in figure.findobj(Text) for name in text.get_fontfamily()}
    paths = [findfont(FontProperties(family=[name])) for name in families]
    return all(Path(path).suffix.lower() == ".ttf" for path in paths)
