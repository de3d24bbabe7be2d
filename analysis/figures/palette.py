"""Colours and dashes of arms, equal in all figures and on the page; no library draws them here.

The colours are those of Okabe and Ito (2008), which the colour-blind can distinguish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uniclip.store import Arm

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8a6d00", "#7f7f7f")
DashPattern = str | tuple[int, tuple[float, ...]]
"""Dashes as matplotlib takes them: "-", or an offset and the lengths in line widths."""
DASH_PATTERNS: tuple[DashPattern, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))


@dataclass(frozen=True)
class LineStyle:
    """Line of an arm."""

    color: str
    linestyle: DashPattern
    linewidth: float


def assign_line_styles(
    arms: Sequence[Arm], reference: str, palette: Sequence[str], ink: str
) -> dict[str, LineStyle]:
    """Return arm -> line style.

    Crossed arms have the colours of the palette, baselines and other settings that of text, and a
    noise arm has the reference's colour. In a listed design every arm is an outside one: then these
    have the colours of the palette.

    Args:
        arms: arms of the plan.
        reference: name of the reference arm.
        palette: colours, of which arms beyond the last one have the first ones again, dashed.
        ink: colour of text.
    """
    line_styles: dict[str, LineStyle] = {}
    colored_arms = [a.name for a in arms if a.role == "crossed"]
    colored_arms = colored_arms or [a.name for a in arms if a.role == "outside"]
    for i, name in enumerate(colored_arms):
        linestyle: DashPattern = "-" if i < len(palette) else (0, (4, 1.5))
        linewidth = 2.4 if name == reference else 1.4
        line_styles[name] = LineStyle(palette[i % len(palette)], linestyle, linewidth)
    black_roles = ("outside", "setting")
    black_arms = [a.name for a in arms if a.role in black_roles and a.name not in line_styles]
    for i, name in enumerate(black_arms):
        line_styles[name] = LineStyle(ink, DASH_PATTERNS[i % len(DASH_PATTERNS)], 1.8)
    for arm in arms:
        if arm.role == "noise":
            color = line_styles[reference].color if reference in line_styles else ink
            line_styles[arm.name] = LineStyle(color, (0, (1, 1.5)), 1.4)
    return line_styles
