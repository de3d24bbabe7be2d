"""Tables, and their formats: CSV, Markdown and LaTeX (booktabs).

Equal tables give equal bytes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.tables.latex import to_latex

MARKDOWN_ESCAPES = {"|": r"\|", "*": r"\*", "_": r"\_", "`": r"\`", "<": "&lt;", "\n": " "}


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """One cell of a table."""

    text: str
    bold: bool = False
    tone: str = ""
    """Colour on the HTML page: good, bad or muted; empty for none."""
    link: str = ""
    """Link to the source of the number, relative to the report's folder (HTML only)."""
    anchor: str = ""
    """Target of links on the HTML page."""
    files: tuple[tuple[str, str], ...] = ()
    """(label, link) of files, shown after the text (HTML only)."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table, for people (`headings`, `rows`) and for programs (`records`)."""

    name: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    records: tuple[Mapping[str, Any], ...]
    """Rows of the CSV file: column -> unrounded value."""
    notes: tuple[str, ...] = ()
    num_text_columns: int = 1
    """Number of leading columns that hold text and are aligned left."""
    essential: tuple[str, ...] = ()
    """Headings of the columns of the LaTeX table, if it has not all of them."""


def make_row(*cells: str | TableCell) -> tuple[TableCell, ...]:
    """Return a row; a plain text becomes a cell."""
    return tuple(t if isinstance(t, TableCell) else TableCell(text=t) for t in cells)


def format_csv_value(value: Any) -> str:
    """Return a value as in a CSV file: ten significant digits, empty for None and NaN."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def to_csv(table: Table) -> str:
    """Return the records as comma-separated values, with a header line."""
    stream = io.StringIO()
    names = list(dict.fromkeys(name for record in table.records for name in record))
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([format_csv_value(record.get(n)) for n in names] for record in table.records)
    return stream.getvalue()


def to_markdown(table: Table) -> str:
    """Return a pipe table with its title and notes."""
    alignments = [
        ":--" if i < table.num_text_columns else "--:" for i in range(len(table.headings))
    ]
    lines = [f"**{_escape(table.title, MARKDOWN_ESCAPES)}**", ""]
    lines += [
        _join_markdown_row([_escape(h, MARKDOWN_ESCAPES) for h in table.headings]),
        _join_markdown_row(alignments),
    ]
    for row in table.rows:
        cell_texts = [_escape(e.text, MARKDOWN_ESCAPES) for e in row]
        lines.append(
            _join_markdown_row([f"**{c}**" if e.bold and c else c for c, e in zip(cell_texts, row)])
        )
    lines += ["", *(f"- {_escape(n, MARKDOWN_ESCAPES)}" for n in table.notes)]
    return "\n".join(lines).rstrip() + "\n"


TABLE_FORMATS = {"csv": to_csv, "md": to_markdown, "tex": to_latex}


def _escape(text: str, replacements: Mapping[str, str]) -> str:
    return "".join(replacements.get(character, character) for character in text)


def _join_markdown_row(cell_texts: Sequence[str]) -> str:
    return "| " + " | ".join(cell_texts) + " |"
