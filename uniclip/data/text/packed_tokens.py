"""The tokens of many captions, encoded once, kept in files and mapped into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from uniclip.data.text.tokenizer import Tokenizer
from uniclip.io.array_file import ArrayWriter, has_array, map_array
from uniclip.io.published_folder import get_or_publish

VERSION = 1
"""Raised when the same captions get other tokens."""
CHUNK_SIZE = 65_536
"""Captions that are encoded at once."""
ENDS_FILE, TOKENS_FILE = "ends.npy", "tokens.npy"


class CaptionIndex(Protocol):
    """m captions in a folder whose name changes whenever one of them does."""

    @property
    def folder(self) -> Path:
        """The folder; that of the tokens is beside it."""

    def count_captions(self) -> int:
        """Return m."""

    def iterate_captions(self, start: int, stop: int) -> Iterator[str]:
        """Yield the captions from `start` to `stop`."""


@dataclass(frozen=True, eq=False)
class PackedTokens:
    """The tokens of m captions."""

    ends: NDArray[np.int64]
    """(m,) end of the tokens of each caption."""
    tokens: NDArray[np.uint16] | NDArray[np.uint32]
    """The tokens of all captions, one after the other, without start and end token."""
    bos: int
    eos: int
    pad: int

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tokens (N, L) of the captions at `rows` (N,), padded to the longest."""
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


def map_tokens(index: CaptionIndex, tokenizer: Tokenizer, context_length: int) -> PackedTokens:
    """Return the tokens of all captions of an index, which are encoded once and kept.

    Args:
        index: The captions.
        tokenizer: Encodes them.
        context_length: Tokens to which they are cut, start and end token included.
    """
    folder = name_folder(index, tokenizer, context_length)
    write = partial(_write_tokens, index, tokenizer, context_length)
    get_or_publish(folder, write, partial(_is_whole, index, tokenizer))
    return PackedTokens(
        ends=map_array(folder / ENDS_FILE),
        tokens=map_array(folder / TOKENS_FILE),
        bos=tokenizer.bos,
        eos=tokenizer.eos,
        pad=tokenizer.pad,
    )


def name_folder(index: CaptionIndex, tokenizer: Tokenizer, context_length: int) -> Path:
    """Return the folder in which the tokens of all captions are kept."""
    key = blake2b(f"{VERSION}/{context_length}/".encode(), digest_size=16)
    key.update(tokenizer.to_json().encode())
    return index.folder.with_name(f"{index.folder.name}-tokens-{key.hexdigest()}")


def _choose_dtype(tokenizer: Tokenizer) -> type[np.uint16 | np.uint32]:
    return np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32


def _is_whole(index: CaptionIndex, tokenizer: Tokenizer, folder: Path) -> bool:
    """Return whether the tokens of all captions are there, complete."""
    if not has_array(folder / ENDS_FILE, np.int64, index.count_captions()):
        return False
    ends = map_array(folder / ENDS_FILE)
    num_tokens = int(ends[-1]) if len(ends) else 0
    return has_array(folder / TOKENS_FILE, _choose_dtype(tokenizer), num_tokens)


def _write_tokens(
    index: CaptionIndex, tokenizer: Tokenizer, context_length: int, folder: Path
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


def _iterate_chunks(index: CaptionIndex) -> Iterator[list[str]]:
    num_captions = index.count_captions()
    for start in range(0, num_captions, CHUNK_SIZE):
        yield list(index.iterate_captions(start, min(start + CHUNK_SIZE, num_captions)))
