"""Reading embedded images by their row.

An image of an Arrow file is read from its bytes in the file. Those of a Parquet file are
compressed in groups of rows: the groups that were used last stay in memory.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniclip.data.csv.image_cache import ImageCache
from uniclip.data.huggingface.arrow_files import convert_errors
from uniclip.data.huggingface.folder import DataFile
from uniclip.data.webdataset.paths import Shard
from uniclip.data.webdataset.shard_files import ShardFiles
from uniclip.errors import CHANGED_DATA_ADVICE, DataChangedError
from uniclip.io.array_file import map_array
from uniclip.io.rgb_image import UnreadableImageError

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

GROUP_CACHE_BYTES = 2**29
"""Memory for row groups of Parquet files, in bytes for a process and its data workers."""
MAX_OPEN = 64
"""Parquet files that a process has open."""


@dataclass(frozen=True)
class _ParquetFile:
    """An open Parquet file."""

    reader: parquet.ParquetFile
    group_ends: NDArray[np.int64]
    """(G,) number of rows up to the end of each row group."""

    @classmethod
    def open(cls, path: str) -> _ParquetFile:
        from pyarrow import parquet

        reader = parquet.ParquetFile(path)
        groups = (reader.metadata.row_group(i) for i in range(reader.num_row_groups))
        return cls(reader, np.cumsum([group.num_rows for group in groups], dtype=np.int64))


class EmbeddedImages:
    """The images of a data set as it was when it was indexed; may be used by several threads.

    Args:
        files: All files.
        first_rows: Number of the first row of each file, and of all rows.
        image: Column of the images, or "<column>.bytes".
        index_folder: Folder of the index.
    """

    def __init__(
        self, files: Sequence[DataFile], first_rows: Sequence[int], image: str, index_folder: Path
    ) -> None:
        self._files, self._image, self._index_folder = files, image, index_folder
        self._first_rows = np.array(first_rows, np.int64)
        self._max_bytes = GROUP_CACHE_BYTES
        self._reset()

    def _reset(self) -> None:
        self._process_id = os.getpid()
        self._lock = Lock()
        self._starts = map_array(self._index_folder / "starts.npy")
        self._lengths = map_array(self._index_folder / "lengths.npy")
        shards = [Shard(f.path, f.name, 0, f.size, f.mtime_ns) for f in self._files]
        self._arrow_files = ShardFiles(shards)
        self._parquet_files: OrderedDict[int, _ParquetFile] = OrderedDict()
        """Number of a file -> the open file, in the order of use."""
        self._groups: ImageCache[pyarrow.ChunkedArray] = ImageCache(self._max_bytes)
        """First row of a row group -> its images."""

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without open files: another process opens its own."""
        names = ("_files", "_image", "_index_folder", "_first_rows", "_max_bytes")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def limit(self, max_bytes: int) -> None:
        """Set the memory for row groups, in bytes; one is always kept."""
        self._max_bytes = max_bytes
        self._groups.limit(max_bytes)

    def name_row(self, row: int) -> str:
        """Return file and row, counted from 1."""
        number = self._find_file(row)
        return f"{self._files[number].path} row {row - int(self._first_rows[number]) + 1}"

    def locate(self, row: int) -> tuple[DataFile, int, int | None]:
        """Return the file of a row, and first byte and length of its image.

        In a Parquet file, where no image is in one piece: its row, and None.
        """
        number = self._find_file(row)
        file = self._files[number]
        if file.is_parquet:
            return file, row - int(self._first_rows[number]), None
        return file, int(self._starts[row]), int(self._lengths[row])

    def read(self, row: int) -> bytes:
        """Return the file of an image.

        Raises:
            UnreadableImageError: There is none.
            DataChangedError: The file of the data set is not as it was when it was indexed.
            UserError: It cannot be read.
        """
        if self._process_id != os.getpid():  # after a fork: files and locks are not shared
            self._reset()
        number = self._find_file(row)
        if not self._files[number].is_parquet:
            return self._arrow_files.read(number, int(self._starts[row]), int(self._lengths[row]))
        with self._lock:
            content = self._read_parquet(number, row - int(self._first_rows[number]))
        if not content:
            raise UnreadableImageError("it has no bytes")
        return content

    def _find_file(self, row: int) -> int:
        return int(np.searchsorted(self._first_rows, row, side="right")) - 1

    def _read_parquet(self, number: int, row: int) -> bytes | None:
        """Return the image in a row of a Parquet file; None for null."""
        self._require_unchanged(number)
        with convert_errors(self._files[number]):
            ends = self._open_parquet(number).group_ends
            group = int(np.searchsorted(ends, row, side="right"))
            start = int(ends[group - 1]) if group else 0
            value = self._read_group(number, group)[row - start]
        if self._image.endswith(".bytes"):
            value = value["bytes"] if value.is_valid else value
        content: bytes | None = value.as_py()
        return content

    def _read_group(self, number: int, group: int) -> pyarrow.ChunkedArray:
        key = (number << 32) + group
        images = self._groups.get(key)
        if images is None:
            reader = self._open_parquet(number).reader
            table = reader.read_row_group(group, columns=[self._image], use_threads=False)
            images = table.column(0)
            self._groups.max_bytes = max(self._max_bytes, images.nbytes)
            self._groups.add(key, images, images.nbytes)
        return images

    def _open_parquet(self, number: int) -> _ParquetFile:
        if number in self._parquet_files:
            self._parquet_files.move_to_end(number)
            return self._parquet_files[number]
        self._parquet_files[number] = _ParquetFile.open(self._files[number].path)
        if len(self._parquet_files) > MAX_OPEN:
            self._parquet_files.popitem(last=False)[1].reader.close()
        return self._parquet_files[number]

    def _require_unchanged(self, number: int) -> None:
        """Raise `DataChangedError` unless a Parquet file is as it was when it was indexed."""
        file = self._files[number]
        try:
            status = os.stat(file.path)
        except FileNotFoundError:
            raise DataChangedError(f"{file.path} is gone; {CHANGED_DATA_ADVICE}") from None
        if (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns):
            raise DataChangedError(
                f"{file.path} has changed since it was indexed; {CHANGED_DATA_ADVICE}"
            )
