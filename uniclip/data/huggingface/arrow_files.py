"""Reading of Arrow and Parquet files: their schema, and the columns of their groups of rows.

A group is a record batch of an Arrow file or a row group of a Parquet file. Arrow files are mapped
into memory while they are read; of the images only the places are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uniclip.data.huggingface.folder import DataFile
from uniclip.data.huggingface.parquet_minima import read_minima
from uniclip.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from numpy.typing import NDArray
    from pyarrow import parquet

FILE_MAGIC = b"ARROW1"
"""First bytes of the file format of Arrow; `datasets` writes the stream format."""
NOT_IN_PLACE = 0
"""Stands for the place of an image in a Parquet file, which must be decompressed."""


@dataclass(frozen=True)
class RowGroup:
    """n rows of a file."""

    values: dict[str, list[Any]]
    """Column -> its n values."""
    image_paths: list[str | None]
    """(n,) what the data set says of the path of each image; None = nothing."""
    starts: NDArray[np.uint64]
    """(n,) first byte of each image in the file; `NOT_IN_PLACE` in a Parquet file."""
    lengths: NDArray[np.uint32]
    """(n,) bytes of each image; `NOT_IN_PLACE` for one without bytes, and in a Parquet file."""
    has_image: NDArray[np.bool_]
    """(n,) whether there is an image. One of no bytes counts as one in a row group of a Parquet
    file that states how many values are missing, but not the smallest."""

    def __len__(self) -> int:
        return len(self.image_paths)


def get_column(image: str) -> str:
    """Return the column of the images; `image` is that, or "<column>.bytes"."""
    return image.removesuffix(".bytes")


def read_schema(file: DataFile) -> pyarrow.Schema:
    """Return the schema of a file; `UserError` if it cannot be read."""
    import pyarrow

    with convert_errors(file):
        if file.is_parquet:
            from pyarrow import parquet

            return parquet.read_schema(file.path)
        with pyarrow.memory_map(file.path) as source:
            return _open_arrow(source).schema


def iterate_groups(file: DataFile, image: str, columns: Sequence[str]) -> Iterator[RowGroup]:
    """Yield the groups of rows of a file; the images are not read.

    Args:
        file: The file.
        image: Column of the images, or "<column>.bytes" (`DataColumns`).
        columns: Columns of texts and numbers. It must have all of them (`require_same_types`).

    Raises:
        UserError: It cannot be read.
    """
    import pyarrow

    with convert_errors(file):
        if file.is_parquet:
            yield from _iterate_row_groups(file, image, columns)
            return
        with pyarrow.memory_map(file.path) as source:
            mapped = source.read_buffer(source.size())
            source.seek(0)
            for batch in _open_arrow(source):
                yield _read_batch(file, batch, mapped.address, image, columns)


def _open_arrow(source: pyarrow.NativeFile) -> Any:
    """Return the record batches of a file in the stream format or the file format of Arrow."""
    import pyarrow

    first_bytes = source.read(len(FILE_MAGIC))
    source.seek(0)
    if first_bytes != FILE_MAGIC:
        return pyarrow.ipc.open_stream(source)
    return _FileBatches(pyarrow.ipc.open_file(source))


class _FileBatches:
    """The record batches of a file in the file format of Arrow, one after the other."""

    def __init__(self, reader: pyarrow.RecordBatchFileReader) -> None:
        self._reader = reader
        self.schema = reader.schema

    def __iter__(self) -> Iterator[pyarrow.RecordBatch]:
        return (self._reader.get_batch(i) for i in range(self._reader.num_record_batches))


def _read_batch(
    file: DataFile, batch: pyarrow.RecordBatch, address: int, image: str, columns: Sequence[str]
) -> RowGroup:
    """Return the rows of a record batch of a file that is mapped at an address."""

    images = batch.column(get_column(image))
    paths: list[str | None] = [None] * len(batch)
    is_valid = images.is_valid().to_numpy(zero_copy_only=False)
    if image.endswith(".bytes"):
        if images.type.get_field_index("path") >= 0:
            stated = images.field("path").to_pylist()
            paths = [path or None if valid else None for path, valid in zip(stated, is_valid)]
        images = images.field("bytes")
    is_valid = is_valid & images.is_valid().to_numpy(zero_copy_only=False)
    starts, lengths = _find_places(file, images, address)
    lengths[~is_valid] = NOT_IN_PLACE
    values = {name: batch.column(name).to_pylist() for name in columns}
    return RowGroup(values, paths, starts, lengths, lengths > 0)


def _find_places(
    file: DataFile, images: pyarrow.Array, address: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Return first byte and number of bytes of each image, (n,) and (n,)."""
    import numpy as np
    import pyarrow

    if not len(images):
        return np.zeros(0, np.uint64), np.zeros(0, np.uint32)
    _, offsets_buffer, content = images.buffers()
    dtype = np.int64 if pyarrow.types.is_large_binary(images.type) else np.int32
    offsets = np.frombuffer(offsets_buffer, dtype)[images.offset : images.offset + len(images) + 1]
    is_empty = content is None or not content.size  # no bytes at all: their address is arbitrary
    start = 0 if is_empty else content.address - address
    if not is_empty and not 0 <= start <= start + content.size <= file.size:
        raise UserError(
            f"{file.path} is compressed: its images cannot be read in place; write it as Parquet, "
            "or without compression"
        )
    return (start + offsets[:-1]).astype(np.uint64), np.diff(offsets).astype(np.uint32)


def _iterate_row_groups(file: DataFile, image: str, columns: Sequence[str]) -> Iterator[RowGroup]:
    """Yield the row groups of a Parquet file."""
    import numpy as np
    from pyarrow import parquet

    with parquet.ParquetFile(file.path) as reader:
        column = get_column(image)
        leaves = {reader.metadata.schema.column(i).path for i in range(len(reader.schema))}
        path_leaf = f"{column}.path"
        wanted = [*columns, *([path_leaf] if path_leaf in leaves else [])]
        minima = read_minima(file.path, image)
        for number in range(reader.num_row_groups):
            num_rows = reader.metadata.row_group(number).num_rows
            table = reader.read_row_group(number, columns=wanted, use_threads=False)
            paths: list[str | None] = [None] * num_rows
            if path_leaf in leaves:
                paths = [(v and v.get("path")) or None for v in table.column(column).to_pylist()]
            yield RowGroup(
                {name: table.column(name).to_pylist() for name in columns},
                paths,
                np.full(num_rows, NOT_IN_PLACE, np.uint64),
                np.full(num_rows, NOT_IN_PLACE, np.uint32),
                _find_images(reader, number, image, minima.get(number)),
            )


def _find_images(
    reader: parquet.ParquetFile, number: int, image: str, minimum: bytes | None
) -> NDArray[np.bool_]:
    """Return which rows of a row group have an image, (n,).

    The images are read only if, by the statistics of the group, one may be missing.

    minimum: The smallest image, as bytes, if that is stated.
    """
    import numpy as np
    import pyarrow.compute

    group = reader.metadata.row_group(number)
    columns = (group.column(i) for i in range(group.num_columns))
    statistics = next(c.statistics for c in columns if c.path_in_schema == image)
    has_all = statistics is not None and statistics.has_null_count and not statistics.null_count
    if has_all and minimum != b"":
        return np.ones(group.num_rows, np.bool_)
    images = reader.read_row_group(number, columns=[image], use_threads=False).column(0)
    if image.endswith(".bytes"):
        images = pyarrow.compute.struct_field(images, "bytes")
    has_bytes = pyarrow.compute.greater(pyarrow.compute.binary_length(images), 0)
    has_image: NDArray[np.bool_] = has_bytes.fill_null(False).to_numpy()
    return has_image


@contextmanager
def convert_errors(file: DataFile) -> Iterator[None]:
    """Context in which errors of reading a file become a `UserError`."""
    import pyarrow

    try:
        yield
    except (OSError, EOFError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{file.path} cannot be read ({reason}); download or write it again"
        ) from None
