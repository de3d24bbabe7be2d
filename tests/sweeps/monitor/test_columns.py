"""Tables of text: they fit any width, and no text is lost."""

from __future__ import annotations

import pytest

from sweeps.monitor.columns import Column, layout_table, measure_width, wrap_text

COLUMNS = (Column("cell"), Column("run id", 2), Column("status"), Column("left", 1), Column("why"))
ROWS = [
    ("no-awareness-domain-similarity/0", "0123abcd", "running", "40 s", ""),
    ("full/0", "4567abcd", "failed", "", "ValueError: " + "the file cannot be read " * 6),
    ("a-very-long-name-that-a-user-has-given-to-her-arm-since-she-likes-it/12", "x", "pending", "",
     "/a/path/without/any/space/that/is/longer/than/a/line/of/forty/columns/log"),
    ("\u6a21\u578b\u6bd4\u8f83/0", "89ab", "needs_evaluation", "", "\u4f60\u597d " * 30),
]  # fmt: skip


@pytest.mark.parametrize("width", [20, 33, 40, 80, 200])
@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ROWS[:2], ROWS[1:2], ROWS[3:]])
def test_no_line_is_too_wide_and_no_required_text_is_lost(
    rows: list[tuple[str, ...]], width: int
) -> None:
    heading_line, row_lines = layout_table(COLUMNS, rows, width)
    assert len(row_lines) == len(rows)
    for row, lines in zip(rows, row_lines):
        assert max(measure_width(line) for line in [heading_line, *lines]) <= width
        text = "".join("".join(lines).split())
        for i in (0, 2, 4):
            assert "".join(row[i].split()) in text
        assert "..." not in text
        assert "\u2026" not in text


def test_columns_of_a_high_rank_are_left_out_first() -> None:
    rows = [("full/0", "0123abcd", "running", "40 s", "")]
    shown = [layout_table(COLUMNS, rows, width)[0].split("  ") for width in (80, 24, 20)]
    headings = [[text.strip() for text in texts if text] for texts in shown]
    assert headings == [
        ["cell", "run id", "status", "left"],
        ["cell", "status", "left"],
        ["cell", "status"],
    ]
    assert layout_table(COLUMNS, [("full/0", "", "running", "", "")], 80)[0] == "cell    status"
    assert layout_table(COLUMNS, [], 80) == ("", [])


def test_a_text_cannot_change_the_terminal() -> None:
    rows = [("full/0", "", "failed", "", "\x1b[2Jbroken\nfile\t1")]
    _, ((line,),) = layout_table(COLUMNS, rows, 80)
    assert line.endswith("\ufffd[2Jbroken file 1")


def test_wrapped_lines_keep_their_indent_and_long_words_may_be_kept() -> None:
    assert wrap_text("  a: " + "word " * 6, 20, "    ") == [
        "  a: word word word",
        "    word word word",
    ]
    path = "/folder" * 9
    assert wrap_text(f"log {path}", 30, divide_words=False)[-1] == path
    assert max(map(len, wrap_text(f"log {path}", 30))) <= 30
    assert wrap_text("", 30) == [""]
