"""One table, written as CSV, Markdown, LaTeX (booktabs) and HTML, the same bytes each time."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.formatting import MINUS, PLUS_MINUS

LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "[": "{[}",
    "]": "{]}",
    MINUS: "$-$",
    PLUS_MINUS: r"$\pm$",
}
MARKDOWN_ESCAPES = {"|": r"\|", "*": r"\*", "_": r"\_", "`": r"\`", "<": "&lt;", "\n": " "}


@dataclass(frozen=True, kw_only=True)
class TableCell:
    """One cell of a table for readers."""

    text: str
    bold: bool = False
    tone: str = ""
    """What it says, for the page's colours: good, bad, quiet."""
    link: str = ""
    """Where the number comes from, relative to the report's folder (page only)."""
    anchor: str = ""
    """What links on the page may point to."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table, once for readers (`headings`, `rows`) and once for programs (`records`)."""

    name: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    records: tuple[Mapping[str, Any], ...]
    """Rows of the CSV: raw numbers, one name a column."""
    notes: tuple[str, ...] = ()
    num_text_columns: int = 1
    """The first so many columns are text (aligned left)."""


def make_row(*cells: str | TableCell) -> tuple[TableCell, ...]:
    """A row for readers; plain text becomes an entry."""
    return tuple(t if isinstance(t, TableCell) else TableCell(text=t) for t in cells)


def format_csv_value(value: Any) -> str:
    """A value in a CSV: ten significant digits, empty for none."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def to_csv(table: Table) -> str:
    """Comma-separated, a heading first, lines ended by a newline."""
    stream = io.StringIO()
    names = list(dict.fromkeys(name for record in table.records for name in record))
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([format_csv_value(record.get(n)) for n in names] for record in table.records)
    return stream.getvalue()


def to_markdown(table: Table) -> str:
    """A pipe table with its title and notes."""
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


def to_latex(table: Table) -> str:
    """A booktabs table; needs \\usepackage{booktabs} and nothing else."""
    column_spec = "l" * table.num_text_columns + "r" * (
        len(table.headings) - table.num_text_columns
    )
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_escape(table.title, LATEX_ESCAPES)}}}"]
    lines += [rf"\label{{tab:{table.name}}}", rf"\begin{{tabular}}{{{column_spec}}}", r"\toprule"]
    lines += [_join_latex_row([_escape(h, LATEX_ESCAPES) for h in table.headings]), r"\midrule"]
    for row in table.rows:
        cell_texts = [_escape(e.text, LATEX_ESCAPES) for e in row]
        lines.append(
            _join_latex_row(
                [rf"\textbf{{{c}}}" if e.bold and c else c for c, e in zip(cell_texts, row)]
            )
        )
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        notes_text = " ".join(_escape(n, LATEX_ESCAPES) for n in table.notes)
        lines += [r"\par\smallskip", rf"{{\footnotesize {notes_text}\par}}"]
    return "\n".join([*lines, r"\end{table}", ""])


def to_html(table: Table) -> str:
    """A figure with the table in a box that scrolls, and its notes."""
    header_cells = "".join(
        f"<th{_format_alignment_attribute(i, table)}>{html.escape(h)}</th>"
        for i, h in enumerate(table.headings)
    )
    body = "".join(
        "<tr>"
        + "".join(
            _format_html_cell(e, _format_alignment_attribute(i, table)) for i, e in enumerate(row)
        )
        + "</tr>\n"
        for row in table.rows
    )
    note_items = "".join(f"<li>{html.escape(n)}</li>" for n in table.notes)
    notes_list = f'<ul class="notes">{note_items}</ul>' if note_items else ""
    return (
        f'<figure class="table" id="table-{table.name}">'
        f"<figcaption>{html.escape(table.title)}</figcaption>\n"
        f'<div class="scroll"><table><thead><tr>{header_cells}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>\n"
        f"{notes_list}</figure>\n"
    )


TABLE_FORMATS = {"csv": to_csv, "md": to_markdown, "tex": to_latex}


def _format_alignment_attribute(column: int, table: Table) -> str:
    return "" if column < table.num_text_columns else ' class="num"'


def _format_html_cell(cell: TableCell, alignment_attribute: str) -> str:
    text = html.escape(cell.text)
    if cell.link:
        text = f'<a href="{html.escape(cell.link)}">{text}</a>'
    if cell.tone:
        text = f'<span class="{cell.tone}">{text}</span>'
    id_attribute = f' id="{html.escape(cell.anchor)}"' if cell.anchor else ""
    return f"<td{alignment_attribute}{id_attribute}>{f'<strong>{text}</strong>' if cell.bold else text}</td>"


def _escape(text: str, replacements: Mapping[str, str]) -> str:
    return "".join(replacements.get(character, character) for character in text)


def _join_markdown_row(cell_texts: Sequence[str]) -> str:
    return "| " + " | ".join(cell_texts) + " |"


def _join_latex_row(cell_texts: Sequence[str]) -> str:
    return " & ".join(cell_texts) + r" \\"
