"""Tables of text that fit the width of a terminal: no text is cut.

Columns that may be left out are, the least important first; the others that do not fit are written
below their row, indented.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

GAP = "  "
"""Between two columns."""
INDENT = "  "
"""Before the lines below a row."""
MAX_FREE_WIDTH = 16
"""Columns that are kept free for a last column of any length."""
MIN_WIDTH = 20
"""Columns of the narrowest terminal that tables are made for."""


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    heading: str
    rank: int = 0
    """0 for columns that are always shown; of the others, the highest is left out first."""
    right_aligned: bool = False


def measure_width(text: str) -> int:
    """Return the columns that a line takes on a terminal: two for wide East Asian characters."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def replace_control_characters(text: str) -> str:
    """Return a text in one line that cannot move the cursor or change colors."""
    if text.isprintable():
        return text
    one_line = " ".join(text.split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in one_line)


def wrap_text(text: str, width: int, indent: str = "", *, divide_words: bool = True) -> list[str]:
    """Return lines of at most `width` columns; `indent` precedes all but the first.

    A word that is longer than a line is divided, or else left to the terminal to wrap: then a path
    can be copied as a whole.
    """
    if measure_width(text) <= width:
        return [text]
    leading = text[: len(text) - len(text.lstrip())]
    if not text.isascii() and measure_width(text) > len(text):
        width = max(MIN_WIDTH // 2, width // 2)  # wide characters: textwrap counts characters
    return textwrap.wrap(
        text.strip(),
        max(width, len(indent) + 1, len(leading) + 1),
        initial_indent=leading,
        subsequent_indent=indent,
        break_long_words=divide_words,
        break_on_hyphens=False,
    )


def layout_table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int
) -> tuple[str, list[list[str]]]:
    """Return the line of headings, and the lines of each row, none wider than `width`.

    Columns without any text are left out. The heading line is empty if there is no row.
    """
    width = max(width, MIN_WIDTH)
    texts = [[replace_control_characters(text) for text in row] for row in rows]
    if not texts:
        return "", []
    widths = [max(measure_width(row[i]) for row in texts) for i in range(len(columns))]
    widths = [w and max(w, measure_width(c.heading)) for w, c in zip(widths, columns)]
    shown = _choose_columns(columns, widths, width)
    below = [
        i for i, column in enumerate(columns) if i not in shown and widths[i] and not column.rank
    ]
    headings = [column.heading for column in columns]
    lines = [_layout_row(row, columns, widths, shown, below, width) for row in texts]
    return _join_cells(headings, columns, widths, shown)[:width], lines


def _choose_columns(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Return the columns that stand side by side; the first always does.

    The last column is text of any length: it gets what is left of the line, and is counted with
    `MAX_FREE_WIDTH` at most.
    """
    shown = [0]
    total = widths[0]
    by_importance = sorted(range(1, len(columns)), key=lambda i: (columns[i].rank, i))
    last = len(columns) - 1
    for i in by_importance:
        if not widths[i]:
            continue
        is_free_text = i == last and not columns[i].rank
        needed = min(widths[i], MAX_FREE_WIDTH) if is_free_text else widths[i]
        if total + len(GAP) + needed <= width:
            shown.append(i)
            total += len(GAP) + needed
    return sorted(shown)


def _layout_row(
    row: Sequence[str],
    columns: Sequence[Column],
    widths: Sequence[int],
    shown: Sequence[int],
    below: Sequence[int],
    width: int,
) -> list[str]:
    """Return the lines of one row: the columns side by side, then what did not fit."""
    line = _join_cells(row, columns, widths, shown)
    below_texts = [row[i] for i in below if row[i]]
    last = len(columns) - 1
    if last in shown and len(shown) > 1 and measure_width(line) > width:
        line = _join_cells(row, columns, widths, [i for i in shown if i != last])
        below_texts.append(row[last])
    lines = wrap_text(line, width, INDENT)
    below_text = GAP.join(below_texts)
    return lines + (wrap_text(INDENT + below_text, width, INDENT) if below_text else [])


def _join_cells(
    cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int], shown: Sequence[int]
) -> str:
    padded = []
    for i in shown:
        padding = " " * (widths[i] - measure_width(cells[i]))
        padded.append(padding + cells[i] if columns[i].right_aligned else cells[i] + padding)
    return GAP.join(padded).rstrip()
