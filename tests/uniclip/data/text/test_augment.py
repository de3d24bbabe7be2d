"""Augmented captions: edits, and masked tokens with their labels."""

from __future__ import annotations

import numpy as np
import pytest

from uniclip.data.text import augment
from uniclip.data.text.tokenizer import load_clip_tokenizer, train_bpe

SENTENCES = [
    "one two three four five six",
    "a",
    "red heart",
    "two small red discs on the left",
    "uncharacteristically flugelhorns",
] * 8


IDS = np.arange(len(SENTENCES), dtype=np.uint64)


@pytest.fixture(scope="module")
def bpe():
    return train_bpe(SENTENCES, 300)


@pytest.mark.parametrize("published", [False, True], ids=["bpe", "clip"])
def test_an_edit_is_a_swap_or_leaves_words_out(bpe, published):
    bpe = load_clip_tokenizer() if published else bpe
    tokens, special = bpe.encode(SENTENCES, 32), augment.VocabularyInfo.from_tokenizer(bpe)
    edited = augment.edit_captions(7, IDS, tokens, special)
    assert np.array_equal(edited, augment.edit_captions(7, IDS, tokens, special))
    kinds = set()
    for before, row in zip(SENTENCES, edited):
        old, new = before.split(), bpe.decode(row).split()
        assert np.array_equal(bpe.encode([" ".join(new)], 32)[0], row[row != bpe.pad])
        if sorted(old) == sorted(new):
            moved = sum(a != b for a, b in zip(old, new))
            assert moved in (0, 2)
            kinds.add("swapped" if moved else "same")
        else:
            rest = iter(old)
            assert all(word in rest for word in new), (old, new)
            assert new
            kinds.add("shorter")
    assert {"swapped", "shorter"} <= kinds


def test_hidden_tokens_are_the_targets(bpe):
    tokens, special = bpe.encode(SENTENCES * 40, 32), augment.VocabularyInfo.from_tokenizer(bpe)
    ids = np.arange(len(tokens), dtype=np.uint64)
    masked, targets = augment.mask_tokens(3, ids, tokens, special, 0.15)
    guessed = targets != augment.IGNORE_INDEX
    assert np.array_equal(targets[guessed], tokens[guessed])
    assert np.array_equal(masked[~guessed], tokens[~guessed])
    words = ~np.isin(tokens, (bpe.bos, bpe.eos, bpe.pad))
    assert not (guessed & ~words).any()
    assert guessed.sum() / words.sum() == pytest.approx(0.15, abs=0.02)
    hidden = masked[guessed] == bpe.pad
    assert hidden.mean() == pytest.approx(0.8, abs=0.04)
    assert (masked[guessed] == tokens[guessed]).mean() == pytest.approx(0.1, abs=0.03)
    assert np.array_equal((masked == bpe.eos).argmax(1), (tokens == bpe.eos).argmax(1))
