"""Style of the figures: one colour per arm in all of them, distinguishable by the colour-blind.

The colours are those of Okabe and Ito (2008). Files contain no date and no program name, so equal
inputs give equal bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.text import Text
from numpy.typing import ArrayLike

from uniclip.store import Arm

INK, MUTED, GRID = "#222222", "#6f6f6f", "#e6e6e6"
GOOD, BAD = "#0072B2", "#D55E00"
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8a6d00", "#7f7f7f")
DOMAIN_PAIR_COLORS = {"ii": "#0072B2", "it": "#D55E00", "tt": "#009E73"}
"""Domain pair (image-image, image-text, text-text) -> colour."""
TRUETYPE, OUTLINES = 42, 3
"""Types of fonts in a PDF (`pdf.fonttype`)."""
DashPattern = str | tuple[int, tuple[float, ...]]
DASH_PATTERNS: tuple[DashPattern, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
RC_PARAMS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
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


@dataclass(frozen=True)
class LineStyle:
    """Line of an arm."""

    color: str
    linestyle: DashPattern
    linewidth: float


class FigureSkipped(Exception):
    """A figure cannot be drawn because its input is missing; the message is the reason."""


def assign_line_styles(arms: Sequence[Arm], reference: str) -> dict[str, LineStyle]:
    """Return arm -> line style.

    Crossed arms are in colour, baselines and other settings black, and a noise arm has the
    reference's colour. In a
    listed design every arm is an outside one: then these are in colour.
    """
    line_styles: dict[str, LineStyle] = {}
    colored_arms = [a.name for a in arms if a.role == "crossed"]
    colored_arms = colored_arms or [a.name for a in arms if a.role == "outside"]
    for i, name in enumerate(colored_arms):
        linestyle: DashPattern = "-" if i < len(PALETTE) else (0, (4, 1.5))
        linewidth = 2.4 if name == reference else 1.4
        line_styles[name] = LineStyle(PALETTE[i % len(PALETTE)], linestyle, linewidth)
    black_roles = ("outside", "setting")
    black_arms = [a.name for a in arms if a.role in black_roles and a.name not in line_styles]
    for i, name in enumerate(black_arms):
        line_styles[name] = LineStyle(INK, DASH_PATTERNS[i % len(DASH_PATTERNS)], 1.8)
    for arm in arms:
        if arm.role == "noise":
            color = line_styles[reference].color if reference in line_styles else INK
            line_styles[arm.name] = LineStyle(color, (0, (1, 1.5)), 1.4)
    return line_styles


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


def create_figure(width: float, height: float) -> Figure:
    """Return an empty figure without a window; width and height are in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write `<name>.png`, `.svg` and `.pdf`, with the same layout; equal figures give equal bytes.

    The canvases are used directly, because `Figure.savefig` draws a figure twice for each file. The
    fonts of a PDF are embedded as TrueType, as publishers ask; glyphs of a font in another format,
    which is used for scripts that the figures' own font lacks, as outlines.
    """
    figure.set_dpi(RC_PARAMS["savefig.dpi"])
    png_canvas: Any = FigureCanvasAgg(figure)  # its methods have no type annotations
    png_canvas.print_png(folder / f"{name}.png", metadata={"Software": None})
    figure.set_layout_engine("none")
    svg_canvas: Any = FigureCanvasSVG(figure)
    svg_canvas.print_svg(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
    pdf_canvas: Any = FigureCanvasPdf(figure)
    metadata = {"CreationDate": None, "Creator": None, "Producer": None}
    font_type = TRUETYPE if _uses_truetype_only(figure) else OUTLINES
    with matplotlib.rc_context({"pdf.fonttype": font_type}):
        pdf_canvas.print_pdf(folder / f"{name}.pdf", metadata=metadata)


def _uses_truetype_only(figure: Figure) -> bool:
    """Return whether every text of a figure is set in fonts that a PDF can hold as TrueType."""
    families = {name for text in figure.findobj(Text) for name in text.get_fontfamily()}
    paths = [findfont(FontProperties(family=name)) for name in families]
    return all(Path(path).suffix.lower() == ".ttf" for path in paths)
