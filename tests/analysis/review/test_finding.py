"""Words of command lines and names in findings."""

from __future__ import annotations

from analysis.review.finding import format_seeds, format_word, join_names


def test_words_are_as_the_command_line_reads_them() -> None:
    assert format_seeds(range(3)) == "seeds=[0,1,2]"
    assert format_word("train.ema_decay", None) == "train.ema_decay=null"
    assert format_word("a", True) == "a=true"
    assert format_word("train.learning_rate", 1e-05) == "train.learning_rate=1e-05"
    assert format_word("train.precision", "bf16") == "train.precision=bf16"


def test_many_names_are_counted() -> None:
    assert join_names(list("abc")) == "a, b, c"
    assert join_names(list("abcdef")) == "a, b, c, d and 2 more"
