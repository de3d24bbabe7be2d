"""Fonts: every character is drawn by a font that has it, or is reported."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from matplotlib.font_manager import FontEntry, fontManager

from analysis.figures import fonts, style

PRIVATE = "\U0010fff0"
"""A private character, which no font has."""


def draw(*contents: str, folder: Path) -> tuple[str, list[str]]:
    """Draw texts with warnings as errors; return what is reported, and the texts as drawn."""
    with style.use_figure_style():
        figure = style.create_figure(4, 2)
        texts = [figure.text(0.1, 0.1 * i, content) for i, content in enumerate(contents)]
        note = fonts.prepare_texts(figure)
        warnings.simplefilter("error")
        style.save_figure(figure, folder, "figure")
    return note, [text.get_text() for text in texts]


def test_characters_without_a_font_are_squares(tmp_path: Path) -> None:
    note, texts = draw(f"a {PRIVATE} b", "plain", folder=tmp_path)
    assert texts == [f"a {fonts.MISSING_CHARACTER} b", "plain"]
    assert note.startswith(
        f"No font of this system has a character of the figures ({PRIVATE} U+10FFF0"
    )
    assert "\n" not in note


@pytest.mark.parametrize(
    "caption",
    [
        "一个红色的方块 👩",
        "赤い四角",
        "빨간 사각형",
        "مربع أحمر",
        "ריבוע",
        "लाल वर्ग",
        "é ß œ Ж Ω ∑",
    ],
)
def test_nothing_warns_in_any_script(tmp_path: Path, caption: str) -> None:
    note, (text,) = draw(caption, folder=tmp_path)
    assert bool(note) == (fonts.MISSING_CHARACTER in text)


def test_plain_texts_keep_their_font(tmp_path: Path) -> None:
    assert draw("plain text, 50 %", folder=tmp_path)[0] == ""


def test_the_font_that_has_the_character_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of fonts with some of the characters, preferred ones come first, coloured ones never."""
    names = ["Zzz Sans", "Noto Color Emoji", "Noto Sans CJK SC", "Last Resort X"]
    entries = [FontEntry(fname=f"/{name}", name=name, weight=400) for name in names]
    characters = dict.fromkeys((f"/{name}" for name in names), frozenset("一二"))
    characters["/Zzz Sans"] = frozenset("一三")
    monkeypatch.setattr(fontManager, "ttflist", entries)
    monkeypatch.setattr(fonts, "findSystemFonts", list)
    monkeypatch.setattr(fonts, "_list_characters", characters.__getitem__)
    fonts.find_fallback_fonts.cache_clear()
    found = fonts.find_fallback_fonts(frozenset("一三四"))
    fonts.find_fallback_fonts.cache_clear()
    assert found == (("Noto Sans CJK SC", "Zzz Sans"), frozenset("四"))


def test_invisible_characters_are_left_out() -> None:
    assert fonts.remove_invisible("a\u200bb\x07\u2764\ufe0f\n\U0001f469\u200d\U0001f680") == (
        "ab\u2764\n\U0001f469\U0001f680"
    )
    assert fonts.remove_invisible("\U0001f44d\U0001f3fd") == "\U0001f44d"


def test_wide_characters_count_twice() -> None:
    assert fonts.measure_width("ab一") == 4
    assert fonts.shorten("abcdef", 6) == "abcdef"
    assert fonts.shorten("abcdefg", 6) == "abc..."
    assert fonts.shorten("一二三四", 7) == "一二..."
