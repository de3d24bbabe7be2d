"""Tokens that are packed in files are those of the table in memory."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.shards import shards_config
from uniclip.data.text import packed_tokens
from uniclip.data.text.caption_tokens import TokenTable
from uniclip.data.text.tokenizer import train_bpe
from uniclip.data.webdataset.index import open_index
from uniclip.data.webdataset.tokens import PackedCaptions, encode_index


@pytest.mark.parametrize("context_length", [4, 7, 32])
@pytest.mark.parametrize("chunk_size", [7, 1000])
def test_batches_of_tokens_are_those_of_the_table(shards, context_length, chunk_size, monkeypatch):
    monkeypatch.setattr(packed_tokens, "CHUNK_SIZE", chunk_size)
    index = open_index(shards_config(shards))
    rows = np.arange(0, len(index), 3, dtype=np.uint32)
    captions = PackedCaptions(index, rows)
    tokenizer = train_bpe([text for (text,) in captions], 300)
    packed = encode_index(index, rows, tokenizer, context_length)
    table = TokenTable(captions, tokenizer, context_length)
    assert packed.packed.tokens.dtype == np.uint16
    for index_of_batch in ([0], [3, 1, 39, 3], list(range(len(rows)))):
        batch = np.array(index_of_batch, np.int64)
        ids = rows[batch].astype(np.uint64)
        assert np.array_equal(packed.draw(1, ids, batch), table.draw(1, ids, batch))


def test_captions_are_a_sequence(shards):
    index = open_index(shards_config(shards))
    captions = PackedCaptions(index, np.array([5, 100], np.uint32))
    assert list(captions) == [("red small 5",), ("red 100",)]
    assert list(captions[1:]) == [("red 100",)]
    assert captions.index(("red 100",)) == 1
