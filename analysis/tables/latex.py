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

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from analysis.formatting import MINUS, PLUS_MINUS

if TYPE_CHECKING:
    from analysis.tables.table import Table, TableCell

ESCAPES = {
    "\\": r"\textbackslash{}",
    "\u00a0": "~",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "|": r"\textbar{}",
    '"': "''",
    "<": "$<$",
    ">": "$>$",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    MINUS: "$-$",
    PLUS_MINUS: r"$\pm$",
    "\u00d7": r"$\times$",
    "\u00b7": r"$\cdot$",
    "\u00b0": r"$^\circ$",
    "\u00b5": r"$\mu$",
    "\u2264": r"$\le$",
    "\u2265": r"$\ge$",
    "\u2248": r"$\approx$",
    "\u2192": r"$\rightarrow$",
    "\u2190": r"$\leftarrow$",
    "\u221e": r"$\infty$",
    "\u2013": "--",
    "\u2014": "---",
    "\u2018": "`",
    "\u2019": "'",
    "\u201c": "``",
    "\u201d": "''",
    "\u2026": r"\ldots{}",
    "\u00a7": r"\S{}",
    "\u00a9": r"\copyright{}",
    "\u00df": r"\ss{}",
    "\u00e6": r"\ae{}",
    "\u00c6": r"\AE{}",
    "\u00f8": r"\o{}",
    "\u00d8": r"\O{}",
    "\u0153": r"\oe{}",
    "\u0152": r"\OE{}",
    "\u0142": r"\l{}",
    "\u0141": r"\L{}",
    "\u0131": r"\i{}",
    "\u00bf": "?`",
    "\u00a1": "!`",
}
"""Character -> LaTeX that pdfTeX sets with its default fonts."""
ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0308": '"',
    "\u030a": "r",
    "\u030c": "v",
    "\u0306": "u",
    "\u0304": "=",
    "\u0307": ".",
    "\u0327": "c",
    "\u030b": "H",
}
"""Combining character -> command of the accent."""
GREEK = {
    name: f"$\\{command}$"
    for name, command in zip(
        "\u03b1\u03b2\u03b3\u03b4\u03b5\u03b6\u03b7\u03b8\u03ba\u03bb\u03bc\u03bd\u03be\u03c0\u03c1\u03c3\u03c4\u03c6\u03c7\u03c8\u03c9\u0393\u0394\u0398\u039b\u03a3\u03a6\u03a8\u03a9",
        "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau "
        "phi chi psi omega Gamma Delta Theta Lambda Sigma Phi Psi Omega".split(),
    )
}
CHARACTER_MACRO = (
    r"\providecommand{\uniclipchar}[1]"
    r"{\ifdefined\Umathcode\symbol{" + '"' + r"#1}\else\texttt{U+#1}\fi\allowbreak}"
)
"""Sets a character by its number with LuaTeX and XeTeX; pdfTeX, which has no such font, shows the
number."""
CHARACTER_WIDTHS = {
    277: "!',.:;<[]_`il",
    305: "fj",
    333: "- \u00a0",
    361: "I",
    388: "()t",
    391: "r",
    394: "s",
    444: "cez",
    472: "?",
    500: '"$*/0123456789\\^agov{}~',
    527: "kqxy",
    555: "Sbdhnpu",
    625: "LJZ",
    680: "EPF",
    722: "BCTwRD",
    778: "&+=@KOQGAHNUVXY<>",
    833: "#%m",
    1028: "MW",
}
"""Width in thousandths of an em of cmr10 -> its characters."""
WIDE_CHARACTER, NUMBERED_CHARACTER = 778, 3700
"""Widths of characters that are not in `CHARACTER_WIDTHS`: signs, and "U+4F60" in typewriter."""
BOLD_FACTOR = 1.16
"""Width of bold text relative to regular text."""
FONTS = (("small", 9.25), ("footnotesize", 8.5), ("scriptsize", 7.97))
"""Size -> points of an em, relative to the widths of cmr10."""
COLUMN_SEPARATION = 3.0
"""Points on each side of a column (`\\tabcolsep`)."""
COLUMN_WIDTH, PAGE_WIDTH, LANDSCAPE_WIDTH = 235.0, 340.0, 540.0
"""Points into which a table, a table* or longtable, and a landscape one must fit: less than a
column of IEEEtran (252), the page of article (345), and its height (550)."""
MAX_FLOAT_HEIGHT = 480.0
"""Points of the highest table that is not divided over pages."""
NO_BREAK_SPACE = "\u00a0"
UNBREAKABLE_SPACE = re.compile(
    rf" (?={PLUS_MINUS})|(?<={PLUS_MINUS}) |(?<=<) |(?<=\d,) (?=[-+{MINUS}\d])"
)
"""Spaces within a number with its deviation, an interval or a bound."""
BREAK_CHARACTERS = "/_=+,.-:;|("
"""Long words may be broken after these characters."""
MIN_BREAKABLE_WORD = 9
"""Characters of the shortest word that may be broken."""
MAX_UNBROKEN_WORD = 24
"""Characters after which a word may be broken in any case."""
DOCUMENT_HINTS = {
    "table": "% needs \\usepackage{array,booktabs,graphicx}",
    "table*": "% needs \\usepackage{array,booktabs,graphicx}",
    "longtable": "% needs \\usepackage{array,booktabs,longtable}; not for two columns "
    "(\\onecolumn)",
    "landscape": "% needs \\usepackage{array,booktabs,longtable,pdflscape}; not for two columns "
    "(\\onecolumn)",
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
    for part in _split_columns(shown_table, layout):
        layout = choose_layout(part)
        build = _build_float if layout.form.startswith("table") else _build_longtable
        lines += build(part, layout)
    if any("\\uniclipchar" in line for line in lines):
        lines.insert(0, CHARACTER_MACRO)
    hints = [DOCUMENT_HINTS[layout.form]]
    if len(shown_table.headings) < len(table.headings):
        hints.append(f"% the essential columns; {table.name}.csv has all of them")
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


def escape(text: str) -> str:
    """Return a text as LaTeX; every character can be set by pdfTeX, LuaTeX and XeTeX."""
    words = UNBREAKABLE_SPACE.sub(NO_BREAK_SPACE, text).split(" ")
    return " ".join("".join(_escape_word(word)) for word in words)


def _escape_word(word: str) -> list[str]:
    pieces: list[str] = []
    break_positions = _find_break_positions(word)
    for i, character in enumerate(word):
        if character == "-" and word[i + 1 : i + 2] == "-":
            pieces.append("-{}")
        else:
            pieces.append(_escape_character(character))
        if i in break_positions:
            pieces.append(r"\allowbreak{}")
    return pieces


def _find_break_positions(word: str) -> set[int]:
    """Return the characters after which a word may be broken; none in numbers."""
    if len(word) < MIN_BREAKABLE_WORD or not any(character.isalpha() for character in word):
        return set()
    positions = {i for i in range(2, len(word) - 2) if word[i] in BREAK_CHARACTERS}
    return positions | set(range(MAX_UNBROKEN_WORD, len(word) - 2, MAX_UNBROKEN_WORD))


@cache
def _escape_character(character: str) -> str:
    if character in ESCAPES:
        return ESCAPES[character]
    if character in GREEK:
        return GREEK[character]
    if " " < character <= "~":
        return character
    if character.isspace():
        return " "
    base, *marks = unicodedata.normalize("NFD", character)
    if base.isascii() and base.isalpha() and marks and all(mark in ACCENTS for mark in marks):
        latex = {"i": r"\i", "j": r"\j"}.get(base, base) if marks != ["\u0327"] else base
        for mark in marks:
            latex = f"\\{ACCENTS[mark]}{{{latex}}}"
        return f"{{{latex}}}"
    if unicodedata.category(character)[0] in "CM" and character not in "\ufffd":
        return "" if ord(character) < 0x300 else _number_character(character)
    return _number_character(character)


def _number_character(character: str) -> str:
    return rf"\uniclipchar{{{ord(character):04X}}}"


# -- widths --


@cache
def _build_width_table() -> dict[str, int]:
    return {
        character: width
        for width, characters in CHARACTER_WIDTHS.items()
        for character in characters
    }


def measure_width(text: str, *, bold: bool = False) -> float:
    """Return the estimated width of a text in thousandths of an em."""
    widths = _build_width_table()
    total = sum(widths.get(character) or _measure_character(character) for character in text)
    return total * (BOLD_FACTOR if bold else 1.0)


@cache
def _measure_character(character: str) -> int:
    latex = _escape_character(character)
    if latex.startswith(r"\uniclipchar"):
        return NUMBERED_CHARACTER
    base = unicodedata.normalize("NFD", character)[0]
    return _build_width_table().get(base, WIDE_CHARACTER)


def _split_words(text: str) -> list[str]:
    """Return the parts of a text between which a line may be broken."""
    words = []
    for word in filter(None, UNBREAKABLE_SPACE.sub(NO_BREAK_SPACE, text).split(" ")):
        start = 0
        for i in sorted(_find_break_positions(word)):
            words.append(word[start : i + 1])
            start = i + 1
        words += [word[start:]] if "\\uniclipchar" not in escape(word) else list(word[start:])
    return words


def _measure_column(table: Table, column: int, em: float) -> tuple[float, float, float]:
    """Return points: of the widest cell, of the longest word, and of the whole heading."""
    cells = [row[column] for row in table.rows]
    heading = table.headings[column]
    scale = em / 1000
    widest = max((measure_width(c.text, bold=c.bold) for c in cells), default=0.0) * scale
    words = [
        measure_width(word, bold=cell.bold) for cell in cells for word in _split_words(cell.text)
    ]
    words += [measure_width(word) for word in _split_words(heading)]
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
