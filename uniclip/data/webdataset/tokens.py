"""The tokens of all captions of an index, encoded once and mapped into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.data.webdataset.index import ShardIndex
from uniclip.io.array_file import ArrayWriter, has_array, map_array
from uniclip.io.published_folder import get_or_publish

VERSION = 1
"""Raised when the same captions get other tokens."""
CHUNK_SIZE = 65_536
"""Captions that are encoded at once."""
ENDS_FILE, TOKENS_FILE = "ends.npy", "tokens.npy"


@dataclass(frozen=True, eq=False)
class PackedCaptions(Sequence[tuple[str, ...]]):
    """The captions of some samples of an index, read where they are asked for."""

    shard_index: ShardIndex
    rows: NDArray[np.uint32]
    """(n,) the samples of the index."""

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, i: int) -> tuple[str, ...]: ...

    @overload
    def __getitem__(self, i: slice) -> Sequence[tuple[str, ...]]: ...

    def __getitem__(self, i: int | slice) -> tuple[str, ...] | Sequence[tuple[str, ...]]:
        if isinstance(i, slice):
            return PackedCaptions(self.shard_index, self.rows[i])
        return (self.shard_index.get_caption(int(self.rows[i])),)


@dataclass(frozen=True, eq=False)
class PackedTokens:
    """The tokens of the captions of some samples of an index (`caption_tokens.CaptionTokens`)."""

    ends: NDArray[np.int64]
    """(m,) end of the tokens of each sample of the index."""
    tokens: NDArray[np.uint16] | NDArray[np.uint32]
    """The tokens of all samples, one after the other, without start and end token."""
    rows: NDArray[np.uint32]
    """(n,) the samples of the index."""
    bos: int
    eos: int
    pad: int

    def draw(self, key: int, ids: rng.UInt64, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tokens (N, L) of each sample, cut to the longest; there is no choice."""
        rows = self.rows[index].astype(np.int64)
        stops = self.ends[rows]
        starts = np.where(rows > 0, self.ends[np.maximum(rows - 1, 0)], 0)
        lengths = stops - starts
        tokens = np.full((len(rows), int(lengths.max()) + 2), self.pad, np.int64)
        columns = np.arange(tokens.shape[1] - 2)
        is_text_token = columns < lengths[:, None]
        tokens[:, 1:-1][is_text_token] = self.tokens[(starts[:, None] + columns)[is_text_token]]
        tokens[:, 0] = self.bos
        tokens[np.arange(len(rows)), lengths + 1] = self.eos
        return tokens


def encode_index(
    index: ShardIndex, rows: NDArray[np.uint32], tokenizer: Tokenizer, context_length: int
) -> PackedTokens:
    """Return the tokens of samples of an index; those of all samples are encoded once and kept.

    Args:
        index: The index.
        rows: (n,) samples of it.
        tokenizer: Encodes the captions.
        context_length: Tokens to which they are cut, start and end token included.
    """
    folder = name_folder(index, tokenizer, context_length)
    write = partial(_write_tokens, index, tokenizer, context_length)
    get_or_publish(folder, write, partial(_is_whole, index, tokenizer))
    return PackedTokens(
        ends=map_array(folder / ENDS_FILE),
        tokens=map_array(folder / TOKENS_FILE),
        rows=rows,
        bos=tokenizer.bos,
        eos=tokenizer.eos,
        pad=tokenizer.pad,
    )


def name_folder(index: ShardIndex, tokenizer: Tokenizer, context_length: int) -> Path:
    """Return the folder in which the tokens of all samples are kept."""
    key = blake2b(f"{VERSION}/{context_length}/".encode(), digest_size=16)
    key.update(tokenizer.to_json().encode())
    return index.folder.with_name(f"{index.folder.name}-tokens-{key.hexdigest()}")


def _choose_dtype(tokenizer: Tokenizer) -> type[np.uint16 | np.uint32]:
    return np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32


def _is_whole(index: ShardIndex, tokenizer: Tokenizer, folder: Path) -> bool:
    """Return whether the tokens of all samples are there, complete."""
    if not has_array(folder / ENDS_FILE, np.int64, len(index)):
        return False
    num_tokens = int(map_array(folder / ENDS_FILE)[-1])
    return has_array(folder / TOKENS_FILE, _choose_dtype(tokenizer), num_tokens)


def _write_tokens(
    index: ShardIndex, tokenizer: Tokenizer, context_length: int, folder: Path
) -> None:
    dtype = _choose_dtype(tokenizer)
    total = 0
    with (
        ArrayWriter(folder / ENDS_FILE, np.int64) as ends_writer,
        ArrayWriter(folder / TOKENS_FILE, dtype) as tokens_writer,
    ):
        for captions in _iterate_chunks(index):
            token_ids = [ids[: context_length - 2] for ids in tokenizer.encode_uncut(captions)]
            ends = total + np.cumsum([len(ids) for ids in token_ids], dtype=np.int64)
            total = int(ends[-1])
            ends_writer.append(ends)
            tokens_writer.append(np.array([i for ids in token_ids for i in ids], dtype))


def _iterate_chunks(index: ShardIndex) -> Iterator[list[str]]:
    for start in range(0, len(index), CHUNK_SIZE):
        yield list(index.iterate_captions(start, min(start + CHUNK_SIZE, len(index))))
