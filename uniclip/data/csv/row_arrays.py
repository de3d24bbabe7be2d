"""The usable rows of tables in arrays on disk, and which of them are one image.

The texts of millions of rows do not fit into memory as Python objects. They are written one after
the other; hashes of them find the rows of one image, and the captions that it has twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.io.array_file import ArrayWriter, map_array
from uniclip.io.packed_texts import PackedTexts, encode_text

NUM_BUFFERED = 65_536
"""Rows that are written at once."""
TEXTS = ("paths", "captions")
NUMBERS: dict[str, type] = {
    "lines": np.uint32,
    "tables": np.uint8,
    "labels": np.int32,
    "splits": np.int8,
    "file_keys": np.int64,
    "path_keys": np.int64,
    "caption_keys": np.int64,
}
"""Name of an array -> type of its elements, one for each row."""

Rows = NDArray[np.int64]


class RowWriter:
    """Writes rows into the arrays of a new folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._stack = ExitStack()
        self._numbers = {n: self._open(folder / f"{n}.npy", t) for n, t in NUMBERS.items()}
        self._texts = {n: TextWriter(self._stack, folder, n, np.int64) for n in TEXTS}
        self._rows: list[tuple[Any, ...]] = []

    def add(self, path: str, caption: str, file_key: str, **numbers: int) -> None:
        """Add a row.

        Args:
            path: The path of its image, as the table has it.
            caption: Its caption.
            file_key: Equal for all names of one file.
            numbers: Its line, and the numbers of its table, label and split, by the names of their
                arrays.
        """
        numbers |= {
            "file_keys": hash(file_key),
            "path_keys": hash(path),
            "caption_keys": hash(caption),
        }
        self._rows.append((path, caption, *(numbers[name] for name in NUMBERS)))
        if len(self._rows) >= NUM_BUFFERED:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            paths, captions, *columns = zip(*self._rows)
            for writer, texts in zip(self._texts.values(), (paths, captions)):
                writer.append(texts)
            for number_writer, values in zip(self._numbers.values(), columns):
                number_writer.append(np.array(values))
            self._rows = []

    def _open(self, path: Path, dtype: Any) -> ArrayWriter:
        return self._stack.enter_context(ArrayWriter(path, dtype))

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._flush()
        self._stack.__exit__(error_type, error, traceback)


class TextWriter:
    """Writes `PackedTexts` into the files <name>.npy and <name>_ends.npy of a folder."""

    def __init__(self, stack: ExitStack, folder: Path, name: str, ends_dtype: Any) -> None:
        self._content = stack.enter_context(ArrayWriter(folder / f"{name}.npy", np.uint8))
        self._ends = stack.enter_context(ArrayWriter(folder / f"{name}_ends.npy", ends_dtype))

    def append(self, texts: Iterable[str]) -> None:
        """Append texts."""
        self._append([encode_text(text) for text in texts])

    def copy(self, texts: PackedTexts, rows: Rows) -> None:
        """Append some of the texts of other files."""
        content = np.ascontiguousarray(texts.content).data
        for start in range(0, len(rows), NUM_BUFFERED):
            chunk = rows[start : start + NUM_BUFFERED]
            stops = texts.ends[chunk]
            starts = np.where(chunk > 0, texts.ends[np.maximum(chunk - 1, 0)], 0)
            self._append([content[a:b] for a, b in zip(starts.tolist(), stops.tolist())])

    def _append(self, pieces: Sequence[bytes | memoryview]) -> None:
        ends = self._content.length + np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        self._ends.append(ends)
        self._content.append(np.frombuffer(b"".join(pieces), np.uint8))


def map_texts(folder: Path, name: str) -> PackedTexts:
    """Return the texts that a `TextWriter` wrote, mapped into memory."""
    return PackedTexts(map_array(folder / f"{name}.npy"), map_array(folder / f"{name}_ends.npy"))


@dataclass(frozen=True)
class RowArrays:
    """The rows that a `RowWriter` wrote, mapped into memory."""

    folder: Path

    def get(self, name: str) -> NDArray[Any]:
        """Return one of the arrays of `NUMBERS`."""
        return map_array(self.folder / f"{name}.npy")

    @cached_property
    def paths(self) -> PackedTexts:
        """The path of the image of each row."""
        return map_texts(self.folder, "paths")

    @cached_property
    def captions(self) -> PackedTexts:
        """The caption of each row."""
        return map_texts(self.folder, "captions")

    def remove(self) -> None:
        """Delete the files."""
        for name in os.listdir(self.folder):
            os.unlink(self.folder / name)
        os.rmdir(self.folder)


@dataclass(frozen=True)
class SampleRows:
    """The rows of n samples, which are images with one or more captions."""

    first: Rows
    """(n,) the first row of each sample, ascending."""
    sample_by_row: Rows
    """The sample of each row."""
    caption_rows: Rows = field(repr=False)
    """(m,) the rows whose captions are used, by sample and row: none is twice in a sample."""

    def count_captions(self) -> NDArray[np.int64]:
        """Return the number of captions of each sample, (n,)."""
        return np.bincount(self.sample_by_row[self.caption_rows], minlength=len(self.first))


def group_rows(file_keys: NDArray[np.int64], caption_keys: NDArray[np.int64]) -> SampleRows:
    """Return the samples that rows make up.

    Args:
        file_keys: Equal for the rows of one image.
        caption_keys: Equal for rows of equal captions.
    """
    _, first, inverse = np.unique(file_keys, return_index=True, return_inverse=True)
    if len(first) == len(file_keys):
        rows = np.arange(len(file_keys))
        return SampleRows(rows, rows, rows)
    order = np.argsort(first)
    numbers = np.empty(len(first), np.int64)
    numbers[order] = np.arange(len(first))
    sample_by_row = numbers[inverse]
    by_caption = np.lexsort((caption_keys, sample_by_row))  # stable: equal ones by row
    samples, captions = sample_by_row[by_caption], caption_keys[by_caption]
    is_new = np.ones(len(by_caption), np.bool_)
    is_new[1:] = (samples[1:] != samples[:-1]) | (captions[1:] != captions[:-1])
    rows = np.sort(by_caption[is_new])
    caption_rows = rows[np.argsort(sample_by_row[rows], kind="stable")]
    return SampleRows(first[order], sample_by_row, caption_rows)
