"""The usable rows of tables in arrays on disk.

The texts of millions of rows do not fit into memory as Python objects. They are written one after
the other; hashes of them find the rows of one image, and the captions that it has twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
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

Rows = NDArray[np.uint32]
"""Numbers of rows."""


def iterate_slices(length: int, size: int | None = None) -> Iterator[slice]:
    """Yield slices of so many elements (`NUM_BUFFERED`), which divide a length."""
    step = size or NUM_BUFFERED
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


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

    @property
    def length(self) -> int:
        """Texts so far."""
        return self._ends.length

    def append(self, texts: Iterable[str]) -> None:
        """Append texts."""
        pieces = [encode_text(text) for text in texts]
        self._append([len(piece) for piece in pieces], pieces)

    def copy(self, texts: PackedTexts, rows: Rows) -> None:
        """Append some of the texts of other files."""
        content = np.ascontiguousarray(texts.content).data
        for s in iterate_slices(len(rows)):
            starts, stops = texts.locate(rows[s])
            # Texts that follow each other are copied at once.
            is_start = np.ones(len(starts) + 1, np.bool_)
            is_start[1:-1] = starts[1:] != stops[:-1]
            runs = zip(starts[is_start[:-1]].tolist(), stops[is_start[1:]].tolist())
            self._append(stops - starts, [content[a:b] for a, b in runs])

    def _append(self, lengths: Any, pieces: Sequence[bytes | memoryview]) -> None:
        """Append texts of these lengths in bytes, which the pieces contain."""
        self._ends.append(self._content.length + np.cumsum(lengths, dtype=np.int64))
        self._content.append(np.frombuffer(b"".join(pieces), np.uint8))


def map_texts(folder: Path, name: str) -> PackedTexts:
    """Return the texts that a `TextWriter` wrote, mapped into memory."""
    return PackedTexts(map_array(folder / f"{name}.npy"), map_array(folder / f"{name}_ends.npy"))


@dataclass(frozen=True)
class RowArrays:
    """The rows that a `RowWriter` wrote.

    Arrays are mapped into memory anew wherever one is asked for: what was read of an earlier one
    leaves memory with it.
    """

    folder: Path

    def get(self, name: str) -> NDArray[Any]:
        """Return one of the arrays of `NUMBERS`."""
        return map_array(self.folder / f"{name}.npy")

    @property
    def paths(self) -> PackedTexts:
        """The path of the image of each row."""
        return map_texts(self.folder, "paths")

    @property
    def captions(self) -> PackedTexts:
        """The caption of each row."""
        return map_texts(self.folder, "captions")

    def remove(self) -> None:
        """Delete the files."""
        for name in os.listdir(self.folder):
            os.unlink(self.folder / name)
        os.rmdir(self.folder)
