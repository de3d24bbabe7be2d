"""The table of tokens: equal captions once, one of several captions a sample by a random stream."""

from __future__ import annotations

import numpy as np

from uniclip.data.text.caption_tokens import TokenTable
from uniclip.data.text.tokenizer import train_bpe

CAPTIONS = [("a fox",), ("a cat", "a very small cat"), ("a fox",)]


def test_a_batch_has_one_caption_of_each_sample_cut_to_the_longest():
    tokenizer = train_bpe([text for texts in CAPTIONS for text in texts], 300)
    table = TokenTable(CAPTIONS, tokenizer, 16)
    drawn = set()
    for key in range(20):
        tokens = table.draw(key, np.arange(3, dtype=np.uint64), np.array([0, 1, 2]))
        texts = [tokenizer.decode(row) for row in tokens]
        assert (texts[0], texts[2]) == ("a fox", "a fox")
        assert (tokens == tokenizer.eos).sum(axis=1).tolist() == [1, 1, 1]
        assert (tokens[:, -1] == tokenizer.eos).any()
        drawn.add(texts[1])
    assert drawn == {"a cat", "a very small cat"}
