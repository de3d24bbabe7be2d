"""The tokenizer: special tokens, padding, truncation, and its file."""

from __future__ import annotations

import numpy as np
import pytest

from uniclip.data.text.tokenizer import Tokenizer, train_bpe
from uniclip.errors import UserError

CAPTIONS = ["two small red discs on the left", "one large blue cross on the right"] * 5


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(CAPTIONS, 320)


def test_special_tokens_differ_and_are_in_range(tokenizer):
    special = {tokenizer.bos, tokenizer.eos, tokenizer.pad}
    assert len(special) == 3
    assert max(special) < tokenizer.vocab_size <= 320


def test_texts_are_padded_to_the_longest_and_truncated_with_eos(tokenizer):
    tokens = tokenizer.encode(["two small red discs on the left", "red"], 32)
    assert tokens.dtype == np.int64
    assert (tokens[:, 0] == tokenizer.bos).all()
    assert (tokens == tokenizer.eos).sum(1).tolist() == [1, 1]
    assert (tokens[0] != tokenizer.pad).all()
    assert (tokens[1] == tokenizer.pad).any()
    cut = tokenizer.encode(["two small red discs on the left"], 5)
    assert cut.shape == (1, 5)
    assert cut[0, -1] == tokenizer.eos
    assert tokenizer.encode([""], 8).tolist() == [[tokenizer.bos, tokenizer.eos]]


def test_any_text_is_restored_by_decoding(tokenizer):
    for text in ("caf\u00e9 \u4e16\u754c", "a <eos> <pad> b", "don't"):
        tokens = tokenizer.encode([text], 64)[0]
        assert tokens.tolist().count(tokenizer.eos) == 1
        assert tokenizer.pad not in tokens
        assert tokenizer.decode(tokens) == text


def test_case_is_ignored(tokenizer):
    upper, lower, other = tokenizer.encode(["RED disc", "red disc", "red desc"], 32)
    assert np.array_equal(upper, lower)
    assert not np.array_equal(lower, other)


def test_training_is_deterministic_and_json_round_trips(tokenizer):
    assert train_bpe(CAPTIONS, 320).to_json() == tokenizer.to_json()
    again = Tokenizer.from_json(tokenizer.to_json())
    assert np.array_equal(again.encode(CAPTIONS, 32), tokenizer.encode(CAPTIONS, 32))
    assert (again.bos, again.eos, again.pad) == (tokenizer.bos, tokenizer.eos, tokenizer.pad)


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_a_damaged_file_is_one_line(text):
    with pytest.raises(UserError, match="tokenizer"):
        Tokenizer.from_json(text)
