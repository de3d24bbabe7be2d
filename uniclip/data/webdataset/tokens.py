"""The captions of samples of an index, and their tokens, both mapped into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.data.text.packed_tokens import PackedTokens, map_tokens
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.data.webdataset.index import ShardIndex
from uniclip.io.lazy_sequence import LazySequence


@dataclass(frozen=True, eq=False)
class PackedCaptions(LazySequence[tuple[str, ...]]):
    """The captions of some samples of an index, read where they are asked for."""

    shard_index: ShardIndex
    rows: NDArray[np.uint32]
    """(n,) the samples of the index."""

    def __len__(self) -> int:
        return len(self.rows)

    def get_slice(self, items: slice) -> Sequence[tuple[str, ...]]:
        return PackedCaptions(self.shard_index, self.rows[items])

    def get_item(self, i: int) -> tuple[str, ...]:
        return (self.shard_index.get_caption(int(self.rows[i])),)


@dataclass(frozen=True, eq=False)
class SampleTokens:
    """The tokens of the captions of some samples of an index (`caption_tokens.CaptionTokens`)."""

    packed: PackedTokens
    """Those of all samples of the index."""
    rows: NDArray[np.uint32]
    """(n,) the samples of the index."""

    def draw(self, key: int, ids: rng.UInt64, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tokens (N, L) of each sample, cut to the longest; there is no choice."""
        return self.packed.take(self.rows[index].astype(np.int64))


def encode_index(
    index: ShardIndex, rows: NDArray[np.uint32], tokenizer: Tokenizer, context_length: int
) -> SampleTokens:
    """Return the tokens of samples of an index; those of all samples are encoded once and kept.

    Args:
        index: The index.
        rows: (n,) samples of it.
        tokenizer: Encodes the captions.
        context_length: Tokens to which they are cut, start and end token included.
    """
    return SampleTokens(map_tokens(index, tokenizer, context_length), rows)
