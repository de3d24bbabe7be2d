"""Formats of tables: text is escaped, values have ten significant digits."""

from __future__ import annotations

from analysis.tables.table import (
    Table,
    TableCell,
    format_csv_value,
    make_row,
    to_csv,
    to_markdown,
)


def test_text_is_escaped() -> None:
    odd = "50 % of a_b & <c> | *d* #1 [e]"
    table = Table(
        name="odd",
        title="Odd",
        headings=("name", "x"),
        rows=(make_row(odd, "1"),),
        records=({"name": odd},),
    )
    assert r"| 50 % of a\_b & &lt;c> \| \*d\* #1 [e] | 1 |" in to_markdown(table)
    assert to_csv(table) == f"name\n{odd}\n"


def test_bold_cells_and_notes() -> None:
    row = make_row("a", TableCell(text="1", bold=True))
    table = Table(
        name="t", title="T", headings=("name", "x"), rows=(row,), records=(), notes=("Note.",)
    )
    assert to_markdown(table) == "**T**\n\n| name | x |\n| :-- | --: |\n| a | **1** |\n\n- Note.\n"


def test_values_of_a_csv_file() -> None:
    values = [None, float("nan"), True, 1 / 3, 7, "text"]
    assert [format_csv_value(v) for v in values] == ["", "", "true", "0.3333333333", "7", "text"]
    records = ({"a": 1}, {"b": None, "a": 2})
    table = Table(name="t", title="", headings=(), rows=(), records=records)
    assert to_csv(table) == "a,b\n1,\n2,\n"
