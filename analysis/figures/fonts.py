"""Fonts for characters that the figures' own font lacks, such as Chinese captions and emoji.

Every text of a figure is checked before it is drawn. Characters without a glyph are taken from
other fonts of the system; those that no font has are drawn as a square and reported. So matplotlib
never has a missing glyph to warn of.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

from fontTools import subset
from matplotlib.figure import Figure
from matplotlib.font_manager import (
    FontEntry,
    FontProperties,
    findfont,
    findSystemFonts,
    fontManager,
)
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

BASE_FONT = "DejaVu Sans"
PREFERRED_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK TC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "IPAexGothic",
    "IPAGothic",
    "TakaoGothic",
    "VL Gothic",
    "NanumGothic",
    "UnDotum",
    "Noto Sans Arabic",
    "Noto Naskh Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Emoji",
    "Symbola",
    "Noto Sans Symbols",
    "Noto Sans Symbols2",
    "FreeSans",
    "Unifont",
    "Unifont Upper",
)
"""Fonts that are tried before the others of the system."""
UNUSABLE_FONTS = ("color", "last resort", "blank")
"""Words in names of fonts that are not used: coloured glyphs cannot be drawn, and the others have
one glyph for a whole script."""
MAX_EXAMPLES = 3
"""Number of missing characters that are named."""
MISSING_CHARACTER = "\u25a1"
VARIATION_SELECTORS, SKIN_TONES = range(0xFE00, 0xFE10), range(0x1F3FB, 0x1F400)
"""Characters that change the one before them, and have no shape of their own."""
LAYOUT_TABLES = ("GDEF", "GPOS", "GSUB", "MATH")
"""Tables of a font that say how a text becomes glyphs and where these stand."""


def prepare_texts(figure: Figure) -> str:
    """Give every text of a figure fonts that have its characters.

    Returns:
        A sentence on the characters that no font of this system has; empty if there are none.
    """
    texts: list[Text] = figure.findobj(Text)
    for text in texts:
        text.set_text(remove_invisible(text.get_text()))
    base_characters = _list_characters(findfont(FontProperties(family=BASE_FONT)))
    other_characters = {c for text in texts for c in text.get_text()} - base_characters - {"\n"}
    if not other_characters:
        return ""
    families, missing = find_fallback_fonts(frozenset(other_characters))
    for text in texts:
        content = text.get_text()
        if not other_characters.isdisjoint(content):
            text.set_fontfamily([BASE_FONT, *families])
            text.set_text("".join(MISSING_CHARACTER if c in missing else c for c in content))
    return describe_missing(missing)


@lru_cache(maxsize=8)
def find_fallback_fonts(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the names of fonts that together have these characters, and those that none has."""
    families: list[str] = []
    missing = set(characters)
    font_sources: tuple[Callable[[], Sequence[FontEntry]], ...] = (_list_fonts, _add_new_fonts)
    for list_fonts in font_sources:
        for entry in _rank_fonts(list_fonts()) if missing else []:
            if covered := missing & _list_characters(entry.fname):
                families.append(entry.name)
                missing -= covered
    return tuple(families), frozenset(missing)


def _list_fonts() -> list[FontEntry]:
    return list(fontManager.ttflist)


def _add_new_fonts() -> list[FontEntry]:
    """Return fonts that were installed since matplotlib made its list, which it keeps for ever."""
    known_paths = {entry.fname for entry in fontManager.ttflist}
    num_known = len(fontManager.ttflist)
    for path in sorted(set(findSystemFonts()) - known_paths):
        with suppress(OSError, RuntimeError, ValueError):
            fontManager.addfont(path)
    return fontManager.ttflist[num_known:]


class _GlyphOptions(subset.Options):
    """Options of a subset for a PDF, which names each glyph and its place itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.drop_tables += LAYOUT_TABLES


@contextmanager
def omit_layout_tables() -> Iterator[None]:
    """Embed fonts in PDFs without `LAYOUT_TABLES`: reading these takes longer than all the rest."""
    options = subset.Options
    subset.Options = _GlyphOptions
    try:
        yield
    finally:
        subset.Options = options


def remove_invisible(text: str) -> str:
    """Return a text without control characters, joiners, variation selectors and skin tones."""
    return "".join(
        c
        for c in text
        if c == "\n"
        or (
            unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Cn")
            and ord(c) not in VARIATION_SELECTORS
            and ord(c) not in SKIN_TONES
        )
    )


def describe_missing(characters: Iterable[str]) -> str:
    """Return a sentence on characters without a glyph; empty without any."""
    missing = sorted(characters)
    if not missing:
        return ""
    examples = ", ".join(f"{c} U+{ord(c):04X}" for c in missing[:MAX_EXAMPLES])
    number = f"{len(missing)} characters" if len(missing) > 1 else "a character"
    return (
        f"No font of this system has {number} of the figures ({examples}), shown as squares: "
        "install one that has, such as Noto Sans CJK or Noto Emoji, and run `report` with --force."
    )


def measure_width(text: str) -> int:
    """Return the width of a text in columns: wide characters, such as Chinese ones, count twice."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def shorten(text: str, max_width: int) -> str:
    """Return a text of at most `max_width` columns; a longer one ends with "..."."""
    if measure_width(text) <= max_width:
        return text
    while text and measure_width(text) > max_width - 3:
        text = text[:-1]
    return text.rstrip() + "..."


def _rank_fonts(entries: Sequence[FontEntry]) -> list[FontEntry]:
    """Return one regular face of each font, preferred ones first."""
    ranks = {name: i for i, name in enumerate(PREFERRED_FONTS)}
    faces: dict[str, FontEntry] = {}
    for entry in sorted(entries, key=lambda e: (e.style != "normal", e.weight != 400, e.fname)):
        if not any(word in entry.name.lower() for word in UNUSABLE_FONTS):
            faces.setdefault(entry.name, entry)
    return sorted(faces.values(), key=lambda e: (ranks.get(e.name, len(ranks)), e.name))


@lru_cache(maxsize=1024)
def _list_characters(path: str) -> frozenset[str]:
    """Return the characters that a font file has; none if it cannot be read or scaled."""
    try:
        font = FT2Font(path)
        is_scalable = font.scalable
        codes = font.get_charmap() if is_scalable else {}
    except (OSError, RuntimeError, ValueError):
        return frozenset()
    return frozenset(chr(code) for code in codes if code <= 0x10FFFF)
