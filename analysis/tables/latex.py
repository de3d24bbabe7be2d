"""Tables in LaTeX (booktabs) that fit the page.

The width of every table is estimated with the widths of Computer Modern, and the first of these
forms is taken into which it fits:

    table       as wide as a column of a two-column document
    table*      as wide as the page
    longtable   as wide as the page, over several pages
    landscape   a longtable on turned pages

Text is wrapped where that helps, and the font is reduced to 7 points at least. In a document with
other fonts a table or table* that is too wide nevertheless is scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from analysis.tables.latex_text import CHARACTER_MACRO, escape, measure_width, split_words

if TYPE_CHECKING:
    from analysis.tables.table import Table, TableCell

FONTS = (("small", 9.25), ("footnotesize", 8.5), ("scriptsize", 7.97))
"""Size -> points of an em, relative to the widths of cmr10."""
COLUMN_SEPARATION = 3.0
"""Points on each side of a column (`\\tabcolsep`)."""
COLUMN_WIDTH, PAGE_WIDTH, LANDSCAPE_WIDTH = 235.0, 340.0, 540.0
"""Points into which a table, a table* or longtable, and a landscape one must fit: less than a
column of IEEEtran (252), the page of article (345), and its height (550)."""
MAX_FLOAT_HEIGHT = 480.0
"""Points of the highest table that is not divided over pages."""
DOCUMENT_HINTS = {
    "table": "% needs \\usepackage{array,booktabs,graphicx}",
    "table*": "% needs \\usepackage{array,booktabs,graphicx}",
    "longtable": "% needs \\usepackage{array,booktabs,longtable}; in a two-column document "
    "\\onecolumn too",
    "landscape": "% needs \\usepackage{array,booktabs,longtable,pdflscape}; in a two-column "
    "document \\onecolumn too",
}
"""Form of a table -> first line of its file."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a table is set."""

    form: str
    """table, table*, longtable or landscape."""
    font: str
    column_widths: tuple[float | None, ...]
    """Points of the columns that are wrapped; None for those that are as wide as their text."""
    fits: bool = True
    """Whether every word fits into its column."""


def to_latex(table: Table) -> str:
    """Return a table that fits the page; a table with `essential` columns has only these.

    Its first line names the packages that it needs.
    """
    shown_table, layout = _choose_essential_columns(table)
    lines: list[str] = []
    hints: dict[str, None] = {}
    for part in _split_columns(shown_table, layout):
        part_layout = choose_layout(part)
        build = _build_float if part_layout.form.startswith("table") else _build_longtable
        lines += build(part, part_layout)
        hints[DOCUMENT_HINTS[part_layout.form]] = None
    if any("\\uniclipchar" in line for line in lines):
        lines.insert(0, CHARACTER_MACRO)
    if len(shown_table.headings) < len(table.headings):
        hints[f"% the essential columns; {table.name}.csv has all of them"] = None
    return "\n".join([*hints, *lines, ""])


def _choose_essential_columns(table: Table) -> tuple[Table, Layout]:
    """Return a table with as many of its essential columns as fit on a page, and its layout."""
    for num_columns in range(len(table.essential), 1, -1):
        headings = table.essential[:num_columns]
        chosen = [i for i, heading in enumerate(table.headings) if heading in headings]
        omitted = [heading for heading in table.headings if heading not in headings]
        essential_table = replace(
            _select_columns(table, chosen),
            notes=tuple(n for n in table.notes if not _explains(n, omitted)),
        )
        layout = choose_layout(essential_table)
        if layout.form.startswith("table") and layout.font != FONTS[-1][0]:
            return essential_table, layout
    return table, choose_layout(table)


def _select_columns(table: Table, chosen: Sequence[int]) -> Table:
    return replace(
        table,
        headings=tuple(table.headings[i] for i in chosen),
        rows=tuple(tuple(row[i] for i in chosen) for row in table.rows),
        num_text_columns=sum(i < table.num_text_columns for i in chosen),
    )


def _split_columns(table: Table, layout: Layout) -> list[Table]:
    """Return the table, or tables of some of its columns each if it is too wide for any page.

    Each of them begins with the columns of text.
    """
    num_columns, num_text = len(table.headings), table.num_text_columns
    if layout.fits or num_columns - num_text < 2:
        return [table]
    num_parts = 2
    while True:
        size = -(-(num_columns - num_text) // num_parts)
        starts = range(num_text, num_columns, size)
        parts = [
            _select_columns(
                table, [*range(num_text), *range(start, min(start + size, num_columns))]
            )
            for start in starts
        ]
        if size == 1 or all(choose_layout(part).fits for part in parts):
            break
        num_parts += 1
    last = len(parts) - 1
    return [
        replace(
            part,
            name=f"{table.name}-{i + 1}" if i else table.name,
            title=f"{table.title} (part {i + 1} of {len(parts)})",
            notes=table.notes if i == last else (),
        )
        for i, part in enumerate(parts)
    ]


def _explains(note: str, headings: Sequence[str]) -> bool:
    """Return whether a note such as "MDE: ..." explains one of these columns."""
    subject, colon, _ = note.partition(":")
    return bool(colon) and any(h.lower().startswith(subject.lower()) for h in headings)


def choose_layout(table: Table) -> Layout:
    """Return the first form and the largest font with which a table fits."""
    for form, width in (("table", COLUMN_WIDTH), ("table*", PAGE_WIDTH)):
        for font, em in FONTS:
            column_widths = _fit_columns(table, em, width)
            if column_widths is not None:
                if _estimate_height(table, column_widths, em, width) > MAX_FLOAT_HEIGHT:
                    break
                return Layout(form=form, font=font, column_widths=column_widths)
    for form, width in (("longtable", PAGE_WIDTH), ("landscape", LANDSCAPE_WIDTH)):
        for font, em in FONTS:
            column_widths = _fit_columns(table, em, width)
            if column_widths is not None:
                return Layout(form=form, font=font, column_widths=column_widths)
    return Layout(
        form="landscape",
        font=FONTS[-1][0],
        column_widths=_share_evenly(len(table.headings), LANDSCAPE_WIDTH),
        fits=False,
    )


def _measure_column(table: Table, column: int, em: float) -> tuple[float, float, float]:
    """Return points: of the widest cell, of the longest word, and of the whole heading."""
    cells = [row[column] for row in table.rows]
    heading = table.headings[column]
    scale = em / 1000
    widest = max((measure_width(c.text, bold=c.bold) for c in cells), default=0.0) * scale
    words = [
        measure_width(word, bold=cell.bold) for cell in cells for word in split_words(cell.text)
    ]
    words += [measure_width(word) for word in split_words(heading)]
    return widest, max(words, default=0.0) * scale, measure_width(heading) * scale


def _fit_columns(table: Table, em: float, width: float) -> tuple[float | None, ...] | None:
    """Return the width of each column so that all fit; None if they cannot.

    A heading is wrapped to the width of its column, a cell only if that is needed.
    """
    available = width - 2 * COLUMN_SEPARATION * (len(table.headings) - 1)
    measured = [_measure_column(table, i, em) for i in range(len(table.headings))]
    minimums = [longest_word * 1.03 + 1 for _, longest_word, _ in measured]
    wanted = [max(widest * 1.03 + 1, m) for (widest, _, _), m in zip(measured, minimums)]
    if sum(minimums) > available:
        return None
    excess = sum(wanted) - available
    if excess <= 0:
        return tuple(
            None if heading * 1.03 + 1 <= want else want
            for (_, _, heading), want in zip(measured, wanted)
        )
    slack = [want - minimum for want, minimum in zip(wanted, minimums)]
    shares = [want - excess * s / sum(slack) for want, s in zip(wanted, slack)]
    return tuple(
        None if s == 0 and heading * 1.03 + 1 <= share else share
        for (_, _, heading), share, s in zip(measured, shares, slack)
    )


def _share_evenly(num_columns: int, width: float) -> tuple[float, ...]:
    return ((width - 2 * COLUMN_SEPARATION * (num_columns - 1)) / num_columns,) * num_columns


def _estimate_height(
    table: Table, column_widths: Sequence[float | None], em: float, width: float
) -> float:
    """Return the estimated points of a table with its caption and notes."""
    line_height = em * 1.25
    num_lines = 0.0
    texts_of_rows = [[(h, False) for h in table.headings]]
    texts_of_rows += [[(cell.text, cell.bold) for cell in row] for row in table.rows]
    for texts in texts_of_rows:
        num_lines += max(
            _count_lines(measure_width(text, bold=bold) * em / 1000, column_width)
            for (text, bold), column_width in zip(texts, column_widths)
        )
    notes_width = sum(measure_width(note) for note in table.notes) * 8.5 / 1000
    return num_lines * line_height + (notes_width / width + 1) * 10 + 60


def _count_lines(text_width: float, column_width: float | None) -> int:
    """Return the lines of a wrapped text: more than its width alone would need."""
    if column_width is None or text_width <= column_width:
        return 1
    return int(text_width / (0.85 * column_width)) + 1


# -- LaTeX --


def _format_columns(table: Table, layout: Layout) -> str:
    columns = []
    for i, width in enumerate(layout.column_widths):
        is_text = i < table.num_text_columns
        alignment = r"\raggedright" if is_text else r"\raggedleft"
        wrapped = (
            rf">{{{alignment}\arraybackslash\hspace{{0pt}}}}p{{{width:.1f}pt}}" if width else ""
        )
        columns.append(wrapped or ("l" if is_text else "r"))
    return "@{}" + "".join(columns) + "@{}"


def _format_row(cells: Sequence[TableCell]) -> str:
    texts = [
        rf"\textbf{{{escape(c.text)}}}" if c.bold and c.text else escape(c.text) for c in cells
    ]
    return " & ".join(texts) + r" \\"


def _format_headings(table: Table) -> str:
    return " & ".join(escape(heading) for heading in table.headings) + r" \\"


def _format_label(table: Table) -> str:
    name = "".join(c if c.isascii() and (c.isalnum() or c in "-_:.") else "-" for c in table.name)
    return rf"\label{{tab:{name}}}"


def _format_notes(table: Table) -> list[str]:
    notes_text = " ".join(escape(note) for note in table.notes if note)
    if not notes_text:
        return []
    return [rf"{{\footnotesize\raggedright\hspace{{0pt}}{notes_text}\par}}"]


def _build_float(table: Table, layout: Layout) -> list[str]:
    """Return a table or table*; it is scaled if it is too wide with the fonts of the document."""
    notes = _format_notes(table)
    return [
        rf"\begin{{{layout.form}}}",
        r"\centering",
        rf"\caption{{{escape(table.title)}}}",
        _format_label(table),
        r"\par\smallskip",
        rf"\{layout.font}",
        rf"\setlength{{\tabcolsep}}{{{COLUMN_SEPARATION:g}pt}}%",
        r"\sbox0{%",
        rf"\begin{{tabular}}{{{_format_columns(table, layout)}}}",
        r"\toprule",
        _format_headings(table),
        r"\midrule",
        *(_format_row(row) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}}%",
        r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi",
        *([r"\par\smallskip", *notes] if notes else []),
        rf"\end{{{layout.form}}}",
    ]


def _build_longtable(table: Table, layout: Layout) -> list[str]:
    """Return a longtable, on turned pages if its form is landscape."""
    headings, num_columns = _format_headings(table), len(table.headings)
    is_turned = layout.form == "landscape"
    notes = _format_notes(table)
    lines = [
        rf"\begingroup\{layout.font}",
        rf"\setlength{{\tabcolsep}}{{{COLUMN_SEPARATION:g}pt}}%",
        rf"\begin{{longtable}}{{{_format_columns(table, layout)}}}",
        rf"\caption{{{escape(table.title)}}}{_format_label(table)}\\",
        r"\toprule",
        headings,
        r"\midrule",
        r"\endfirsthead",
        r"\toprule",
        headings,
        r"\midrule",
        r"\endhead",
        rf"\midrule \multicolumn{{{num_columns}}}{{@{{}}l@{{}}}}{{continued}} \\",
        r"\endfoot",
        r"\bottomrule",
        r"\endlastfoot",
        *(_format_row(row) for row in table.rows),
        r"\end{longtable}",
        r"\endgroup",
    ]
    lines += [r"\noindent", *notes] if notes else []
    return [r"\begin{landscape}", *lines, r"\end{landscape}"] if is_turned else lines
