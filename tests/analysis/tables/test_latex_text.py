"""Text in LaTeX: every character is set, and widths are those of Computer Modern."""

from __future__ import annotations

import pytest

from analysis.tables.latex_text import escape, measure_width, split_words


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50 % of a_b & <c> #1 [e]", r"50 \% of a\_b \& $<$c$>$ \#1 {[}e{]}"),
        ("*d*", "{*}d{*}"),
        ("--a-b---", "-{}-a-b-{}-{}-"),
        ("\u00e9\u00ef\u015f", r"{\'{e}}{\"{\i}}{\c{s}}"),
        ("\u4f60", r"\uniclipchar{4F60}"),
        ("52.7 \u00b1 1.5", r"52.7~$\pm$~1.5"),
        ("[+4.3, \u221213.9]", "{[}+4.3,~$-$13.9{]}"),
        ("p < 0.001", "p $<$~0.001"),
        ("a\x1bb\nc", "ab c"),
        ("data/images.csv", r"data/\allowbreak{}images.\allowbreak{}csv"),
    ],
)
def test_text_is_escaped(text: str, latex: str) -> None:
    assert escape(text) == latex


def test_widths_are_those_of_computer_modern() -> None:
    assert measure_width("0123456789") == 5000
    assert measure_width("W") > measure_width("i") * 3
    assert measure_width("\u00e9") == measure_width("e")
    assert measure_width("a", bold=True) > measure_width("a")


def test_numbers_are_not_broken_and_long_words_are() -> None:
    assert split_words("52.7 \u00b1 1.5 of 3") == (
        "52.7\u00a0\u00b1\u00a01.5",
        "of",
        "3",
    )
    assert split_words("1,234,567.890") == ("1,234,567.890",)
    path = "/folder/sub-folder/images.csv"
    assert "".join(split_words(path)) == path
    assert split_words(path)[:2] == ("/folder/", "sub-")
    assert max(map(len, split_words("x" * 100))) <= 25
    assert split_words("\u4f60\u597d") == (
        "\u4f60",
        "\u597d",
    )
