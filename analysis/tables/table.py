"""One table, written as CSV, Markdown, LaTeX (booktabs) and HTML, the same bytes each time."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.formatting import MINUS, PLUS_MINUS

TEX = {
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
MARKDOWN = {"|": r"\|", "*": r"\*", "_": r"\_", "`": r"\`", "<": "&lt;", "\n": " "}


@dataclass(frozen=True, kw_only=True)
class Entry:
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
    rows: tuple[tuple[Entry, ...], ...]
    records: tuple[Mapping[str, Any], ...]
    """Rows of the CSV: raw numbers, one name a column."""
    notes: tuple[str, ...] = ()
    texts: int = 1
    """The first so many columns are text (aligned left)."""


def entries(*texts: str | Entry) -> tuple[Entry, ...]:
    """A row for readers; plain text becomes an entry."""
    return tuple(t if isinstance(t, Entry) else Entry(text=t) for t in texts)


def raw(value: Any) -> str:
    """A value in a CSV: ten significant digits, empty for none."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def as_csv(table: Table) -> str:
    """Comma-separated, a heading first, lines ended by a newline."""
    stream = io.StringIO()
    names = list(dict.fromkeys(name for record in table.records for name in record))
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([raw(record.get(n)) for n in names] for record in table.records)
    return stream.getvalue()


def as_markdown(table: Table) -> str:
    """A pipe table with its title and notes."""
    marks = [":--" if i < table.texts else "--:" for i in range(len(table.headings))]
    lines = [f"**{_escaped(table.title, MARKDOWN)}**", ""]
    lines += [_pipes([_escaped(h, MARKDOWN) for h in table.headings]), _pipes(marks)]
    for row in table.rows:
        cells = [_escaped(e.text, MARKDOWN) for e in row]
        lines.append(_pipes([f"**{c}**" if e.bold and c else c for c, e in zip(cells, row)]))
    lines += ["", *(f"- {_escaped(n, MARKDOWN)}" for n in table.notes)]
    return "\n".join(lines).rstrip() + "\n"


def as_tex(table: Table) -> str:
    """A booktabs table; needs \\usepackage{booktabs} and nothing else."""
    columns = "l" * table.texts + "r" * (len(table.headings) - table.texts)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{_escaped(table.title, TEX)}}}"]
    lines += [rf"\label{{tab:{table.name}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [_ampersands([_escaped(h, TEX) for h in table.headings]), r"\midrule"]
    for row in table.rows:
        cells = [_escaped(e.text, TEX) for e in row]
        lines.append(
            _ampersands([rf"\textbf{{{c}}}" if e.bold and c else c for c, e in zip(cells, row)])
        )
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        notes = " ".join(_escaped(n, TEX) for n in table.notes)
        lines += [r"\par\smallskip", rf"{{\footnotesize {notes}\par}}"]
    return "\n".join([*lines, r"\end{table}", ""])


def as_html(table: Table) -> str:
    """A figure with the table in a box that scrolls, and its notes."""
    heads = "".join(
        f"<th{_side(i, table)}>{html.escape(h)}</th>" for i, h in enumerate(table.headings)
    )
    body = "".join(
        "<tr>" + "".join(_html_cell(e, _side(i, table)) for i, e in enumerate(row)) + "</tr>\n"
        for row in table.rows
    )
    notes = "".join(f"<li>{html.escape(n)}</li>" for n in table.notes)
    listed = f'<ul class="notes">{notes}</ul>' if notes else ""
    return (
        f'<figure class="table" id="table-{table.name}">'
        f"<figcaption>{html.escape(table.title)}</figcaption>\n"
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>\n"
        f"{listed}</figure>\n"
    )


WRITERS = {"csv": as_csv, "md": as_markdown, "tex": as_tex}


def _side(column: int, table: Table) -> str:
    return "" if column < table.texts else ' class="num"'


def _html_cell(entry: Entry, side: str) -> str:
    text = html.escape(entry.text)
    if entry.link:
        text = f'<a href="{html.escape(entry.link)}">{text}</a>'
    if entry.tone:
        text = f'<span class="{entry.tone}">{text}</span>'
    place = f' id="{html.escape(entry.anchor)}"' if entry.anchor else ""
    return f"<td{side}{place}>{f'<strong>{text}</strong>' if entry.bold else text}</td>"


def _escaped(text: str, special: Mapping[str, str]) -> str:
    return "".join(special.get(character, character) for character in text)


def _pipes(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _ampersands(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
