"""How figures look: one colour for an arm in all of them, told apart by the colour-blind too.

Colours are those of Okabe and Ito (2008). Files carry no date and no program's name, so that equal
inputs give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from uniclip.store import Plan

INK, QUIET, FAINT, GRID = "#222222", "#6f6f6f", "#b9b9b9", "#e6e6e6"
GOOD, BAD = "#0072B2", "#D55E00"
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8a6d00", "#7f7f7f")
DOMAIN_PAIR_COLORS = {"ii": "#0072B2", "it": "#D55E00", "tt": "#009E73"}
"""Domain pairs: image-image, image-text, text-text."""
RC_PARAMS = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "legend.frameon": False,
    "text.parse_math": False,
    "svg.hashsalt": "uniclip",
    "svg.fonttype": "path",
    "figure.facecolor": "white",
    "savefig.dpi": 160.0,
}


@dataclass(frozen=True)
class LineStyle:
    """How an arm is drawn."""

    color: str
    linestyle: str | tuple[int, tuple[float, ...]]
    linewidth: float


def assign_line_styles(plan: Plan) -> dict[str, LineStyle]:
    """Arm -> its line: crossed arms in colours, baselines black, the A/A arm as its reference."""
    line_styles: dict[str, LineStyle] = {}
    dash_patterns: list[str | tuple[int, tuple[float, ...]]] = [
        "-",
        (0, (5, 2)),
        (0, (1, 1.5)),
        (0, (5, 2, 1, 2)),
    ]
    colored_arms = [a.name for a in plan.arms if a.role == "crossed"]
    if (
        not colored_arms
    ):  # a listed design: every arm is an outside one, and colours tell them apart
        colored_arms = [a.name for a in plan.arms if a.role == "outside"]
    for i, name in enumerate(colored_arms):
        linestyle = "-" if i < len(PALETTE) else (0, (4, 1.5))
        line_styles[name] = LineStyle(
            PALETTE[i % len(PALETTE)], linestyle, 2.4 if name == plan.reference else 1.4
        )
    black_arms = [a.name for a in plan.arms if a.role == "outside" and a.name not in line_styles]
    for i, name in enumerate(black_arms):
        line_styles[name] = LineStyle(INK, dash_patterns[i % len(dash_patterns)], 1.8)
    for arm in plan.arms:
        if arm.role == "noise":
            line_styles[arm.name] = LineStyle(
                line_styles.get(plan.reference, LineStyle(INK, "-", 1)).color, (0, (1, 1.5)), 1.4
            )
    return line_styles


@contextmanager
def use_figure_style() -> Iterator[None]:
    """Our settings, and nobody else's, while a figure is made."""
    settings: Any = {**matplotlib.rcParamsDefault, "backend": "agg", **RC_PARAMS}
    with matplotlib.rc_context(settings):
        yield


def create_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, without any window behind it."""
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, folder: Path, name: str) -> None:
    """Write `<name>.png` and `<name>.svg`, the same bytes each time; laid out once for both."""
    metadata_by_format: dict[str, Any] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
    }
    for file_format, metadata in metadata_by_format.items():
        figure.savefig(folder / f"{name}.{file_format}", metadata=metadata)
        figure.set_layout_engine("none")
