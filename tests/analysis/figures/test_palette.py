"""Lines of arms: a colour for each, and dashes where colours run out."""

from __future__ import annotations

from analysis.figures.palette import PALETTE, assign_line_styles
from tests.helpers import fake_sweep


def test_colours_go_to_crossed_arms_and_ink_to_baselines() -> None:
    styles = assign_line_styles(fake_sweep.arms(), "full", PALETTE, "ink")
    crossed = [styles[a.name] for a in fake_sweep.arms() if a.role == "crossed"]
    assert [s.color for s in crossed] == list(PALETTE)
    assert styles["clip"].color == styles["clip-same-views"].color == "ink"
    assert styles["clip"].linestyle != styles["clip-same-views"].linestyle


def test_arms_beyond_the_palette_are_dashed() -> None:
    styles = assign_line_styles(fake_sweep.arms(), "full", PALETTE[:3], "ink")
    first, fourth = styles["full"], styles["no-mp-nce-domain-similarity"]
    assert [s.color for s in (first, fourth)] == [PALETTE[0], PALETTE[1]]
    assert fourth.linestyle != "-"
