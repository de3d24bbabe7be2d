"""The tokens of a split's captions, encoded once, from which batches draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.data.text.tokenizer import Tokenizer


class CaptionTokens(Protocol):
    """Tokens of one or more captions for each sample of a split."""

    def draw(self, key: int, ids: rng.UInt64, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tokens (N, L) of one caption for each sample, cut to the longest.

        Args:
            key: Key of the random stream that chooses among captions.
            ids: (N,) ids of the samples.
            index: (N,) the samples.
        """


class TokenTable:
    """The tokens in memory; equal captions are encoded once.

    Args:
        captions: One or more for each sample.
        tokenizer: Encodes them.
        context_length: Tokens to which they are cut.
    """

    def __init__(
        self, captions: Sequence[Sequence[str]], tokenizer: Tokenizer, context_length: int
    ) -> None:
        self._eos_id = tokenizer.eos
        self._caption_counts = np.array([len(c) for c in captions], np.int64)
        self._first_caption_index = np.cumsum(self._caption_counts) - self._caption_counts
        all_captions = [caption for sample_captions in captions for caption in sample_captions]
        row_by_caption = {caption: i for i, caption in enumerate(dict.fromkeys(all_captions))}
        self._token_rows = np.array([row_by_caption[caption] for caption in all_captions], np.int64)
        self._token_table = tokenizer.encode(list(row_by_caption), context_length)

    def draw(self, key: int, ids: rng.UInt64, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tokens (N, L) of one caption for each sample, cut to the longest."""
        caption_choice = rng.integers(key, ids, self._caption_counts[index])
        tokens = self._token_table[
            self._token_rows[self._first_caption_index[index] + caption_choice]
        ]
        max_length = int((tokens == self._eos_id).argmax(1).max()) + 1
        return np.ascontiguousarray(tokens[:, :max_length])
