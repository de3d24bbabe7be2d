"""Captions that are cut to the context, and those that become equal by it."""

from __future__ import annotations

import pytest

from uniclip.config import TextConfig
from uniclip.data.text import truncation
from uniclip.data.text.build import build_tokenizer
from uniclip.data.text.truncation import (
    count_truncated,
    describe_cut_captions,
    describe_equal_captions,
)

PREFIX = "the a of in " * 20


@pytest.mark.parametrize("tokenizer", ["bpe", "clip"])
def test_counts_are_those_of_the_tokenizer(tokenizer):
    config = TextConfig(
        tokenizer=tokenizer,
        context_length=12,
        vocab_size=49_408 if tokenizer == "clip" else 400,
    )
    captions = [f"a {'very ' * i}red square number {i}" for i in range(30)]
    counts = count_truncated(config, captions, captions)
    padded_tokens = build_tokenizer(config, captions).encode(captions, 500)
    assert counts.longest == padded_tokens.shape[1], "padded to the longest"
    ids = build_tokenizer(config, captions).encode_uncut(captions)
    assert counts.num_cut == sum(len(row) > 10 for row in ids)
    assert counts.num_left == len({tuple(row[:10]) for row in ids})
    assert (counts.num_captions, counts.num_equal) == (30, 0)


def test_different_captions_become_one():
    captions = [f"{PREFIX}a red square number {i}" for i in range(120)]
    counts = count_truncated(TextConfig(), captions, captions)
    assert (counts.num_cut, counts.num_merged, counts.num_left) == (120, 120, 1)
    (sentence,) = describe_cut_captions(TextConfig(), counts)
    assert "120 of 120 captions are longer than model.text.context_length=32 tokens" in sentence
    assert "120 become equal to another one" in sentence
    assert "before: 120, after: 1)" in sentence
    wide = TextConfig(context_length=counts.longest)
    assert describe_cut_captions(wide, count_truncated(wide, captions, captions)) == []
    narrow = TextConfig(context_length=counts.longest - 1)
    assert count_truncated(narrow, captions, captions).num_cut > 0


def test_captions_that_are_cut_and_stay_different():
    captions = [f"number {i} {PREFIX}" for i in range(20)]
    counts = count_truncated(TextConfig(), captions, captions)
    assert (counts.num_cut, counts.num_merged, counts.num_left) == (20, 0, 20)
    (sentence,) = describe_cut_captions(TextConfig(), counts)
    assert "equal" not in sentence
    assert describe_equal_captions(counts) == []


def test_captions_that_differ_in_case_are_equal_and_repeated_ones_count_once():
    captions = ["A dog", "a dog", "a dog", "a cat", "A DOG"]
    counts = count_truncated(TextConfig(), captions, captions)
    assert (counts.num_captions, counts.num_cut, counts.num_equal) == (4, 0, 3)
    (sentence,) = describe_equal_captions(counts)
    assert describe_cut_captions(TextConfig(), counts) == []
    assert sentence.startswith("3 of 4 captions have the same tokens as another one")


def test_chinese_captions_are_counted_in_tokens():
    captions = ["".join(chr(0x4E00 + 50 * i + 7 * j) for j in range(17)) for i in range(9)]
    counts = count_truncated(TextConfig(vocab_size=300), captions, captions)
    assert counts.num_cut > 0, "17 characters are more than 30 tokens"
    assert count_truncated(TextConfig(vocab_size=300), captions, ["猫"]).num_cut == 0


def test_counts_are_kept_by_content(monkeypatch):
    captions = ["one", "two"]
    first = count_truncated(TextConfig(), captions, captions)
    monkeypatch.setattr(truncation, "_count", lambda *_: pytest.fail("counted again"))
    assert count_truncated(TextConfig(), captions, captions) == first
    with pytest.raises(pytest.fail.Exception):
        count_truncated(TextConfig(context_length=5), captions, captions)
    with pytest.raises(pytest.fail.Exception):
        count_truncated(TextConfig(), ["one"], captions)


def test_of_many_captions_a_sample_is_counted(monkeypatch):
    captions = [f"number {i} {PREFIX}" for i in range(50)]
    monkeypatch.setattr(truncation, "MAX_CAPTIONS", 20)
    counts = count_truncated(TextConfig(), captions, captions)
    assert (counts.num_total, counts.num_captions, counts.num_cut) == (50, 17, 17)
    (sentence,) = describe_cut_captions(TextConfig(), counts)
    assert sentence.startswith("17 of 17 captions looked at, of 50, are longer than")
