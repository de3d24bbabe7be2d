"""Text in LaTeX: characters that every TeX can set, widths, and where words may be broken."""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache

from analysis.formatting import MINUS, PLUS_MINUS

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
GREEK_COMMANDS = {
    "\u03b1": "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi",
    "\u03c0": "pi rho varsigma sigma tau upsilon phi chi psi omega",
}
"""First Greek letter -> commands of the letters that follow from it in Unicode."""
GREEK = {
    chr(ord(first) + i): f"$\\{command}$"
    for first, commands in GREEK_COMMANDS.items()
    for i, command in enumerate(commands.split())
} | {
    letter: f"$\\{command}$"
    for letter, command in {
        "\u0393": "Gamma",
        "\u0394": "Delta",
        "\u0398": "Theta",
        "\u039b": "Lambda",
        "\u03a3": "Sigma",
        "\u03a6": "Phi",
        "\u03a8": "Psi",
        "\u03a9": "Omega",
    }.items()
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
MAX_REMEMBERED_TEXTS = 2**16
"""Texts whose measures are remembered: the layout of a table is searched for."""


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
    decomposed = unicodedata.normalize("NFD", character)
    base, marks = decomposed[0], list(decomposed[1:])
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


@cache
def _build_width_table() -> dict[str, int]:
    return {
        character: width
        for width, characters in CHARACTER_WIDTHS.items()
        for character in characters
    }


@lru_cache(maxsize=MAX_REMEMBERED_TEXTS)
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


@lru_cache(maxsize=MAX_REMEMBERED_TEXTS)
def split_words(text: str) -> tuple[str, ...]:
    """Return the parts of a text between which a line may be broken."""
    words: list[str] = []
    for word in filter(None, UNBREAKABLE_SPACE.sub(NO_BREAK_SPACE, text).split(" ")):
        start = 0
        for i in sorted(_find_break_positions(word)):
            words.append(word[start : i + 1])
            start = i + 1
        words += [word[start:]] if "\\uniclipchar" not in escape(word) else list(word[start:])
    return tuple(words)
