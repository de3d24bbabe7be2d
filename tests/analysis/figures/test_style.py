"""Style of the figures: colours of the arms, and the settings of matplotlib."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import matplotlib
from fontTools import subset
from fontTools.ttLib import TTFont
from matplotlib.font_manager import findfont

from analysis.figures import fonts, style
from analysis.figures.palette import PALETTE
from tests.helpers import fake_sweep
from uniclip.store import Arm


def test_crossed_arms_have_colours_and_the_noise_arm_that_of_the_reference() -> None:
    with style.use_figure_style():
        styles = style.assign_line_styles(fake_sweep.arms(), "full")
    assert styles["full"].linewidth > styles["none"].linewidth
    assert styles["full-again"].color == styles["full"].color
    assert styles["full-again"].linestyle != styles["full"].linestyle
    assert styles["clip"].color == styles["clip-same-views"].color == style.INK
    crossed = [styles[a.name].color for a in fake_sweep.arms() if a.role == "crossed"]
    assert len(set(crossed)) == 8


def test_a_listed_design_has_colours_for_outside_arms() -> None:
    arms = [Arm(name=n, label=n, role="outside", levels={}, config_diff={}) for n in ("a", "b")]
    colors = [s.color for s in style.assign_line_styles(arms, "a").values()]
    assert colors == list(PALETTE[:2])


def test_settings_of_the_user_do_not_matter(tmp_path: Path) -> None:
    def draw(folder: Path) -> bytes:
        folder.mkdir()
        with style.use_figure_style():
            figure = style.create_figure(2, 1)
            figure.subplots().plot([0, 1])
            style.save_figure(figure, folder, "f")
        return b"".join((folder / f"f.{suffix}").read_bytes() for suffix in ("png", "svg", "pdf"))

    expected = draw(tmp_path / "a")
    with matplotlib.rc_context({"lines.linewidth": 9, "savefig.dpi": 7, "figure.dpi": 33}):
        assert draw(tmp_path / "b") == expected


def test_the_fonts_of_a_pdf_are_embedded_as_truetype(tmp_path: Path) -> None:
    with style.use_figure_style():
        figure = style.create_figure(2, 1)
        axes = figure.subplots()
        axes.set_title("Scores")
        style.save_figure(figure, tmp_path, "truetype")
        axes.set_title("Scores", fontfamily=["DejaVu Sans", "STIXGeneral"])
        assert Path(findfont("STIXGeneral")).suffix == ".ttf"
        style.save_figure(figure, tmp_path, "fallback")
        axes.set_title("Scores", fontfamily=["DejaVu Sans", "missing"])
        assert style._uses_truetype_only(figure), "a missing family is replaced by DejaVu Sans"
    for name in ("truetype", "fallback"):
        content = (tmp_path / f"{name}.pdf").read_bytes()
        assert b"/FontFile2" in content
        assert b"/Type3" not in content
        assert b"/CreationDate" not in content
    options = subset.Options()
    assert not {*fonts.LAYOUT_TABLES} & {*options.drop_tables}, "others subset fonts as before"


def test_an_embedded_font_has_its_glyphs_and_no_layout_tables(tmp_path: Path) -> None:
    with style.use_figure_style():
        figure = style.create_figure(2, 1)
        figure.subplots().set_title("Scores")
        style.save_figure(figure, tmp_path, "f")
    content = (tmp_path / "f.pdf").read_bytes()
    streams = [part.split(b"endstream")[0] for part in content.split(b"stream\n")[1:]]
    decoded = [zlib.decompress(s) for s in streams if s.startswith(b"x")]
    embedded = [TTFont(io.BytesIO(d)) for d in decoded if d.startswith(b"\0\1\0\0")]
    assert {*"Score", "zero"} <= {name for font in embedded for name in font.getGlyphOrder()}
    assert not any(table in font for font in embedded for table in fonts.LAYOUT_TABLES)
