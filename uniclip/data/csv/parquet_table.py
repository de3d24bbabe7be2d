"""Reading of the text columns of a Parquet file, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip.errors import UserError

if TYPE_CHECKING:
    import pyarrow

MAGIC = b"PAR1"
BATCH_ROWS = 65_536
"""Rows that are in memory at once."""


def is_parquet(first_bytes: bytes) -> bool:
    """Return whether a file that begins so is a Parquet file."""
    return first_bytes.startswith(MAGIC)


def list_text_columns(path: str) -> tuple[str, ...]:
    """Return the columns of texts and whole numbers; others, such as embedded images, are not read.

    Raises:
        UserError: The file cannot be read.
    """
    with _open(path) as file:
        return tuple(field.name for field in file.schema_arrow if _is_text(field.type))


def iterate_rows(path: str, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each row, counted from 1, and its fields, stripped; "" for null.

    Raises:
        UserError: The file cannot be read.
    """
    import pyarrow

    number = 0
    with _open(path) as file:
        try:
            for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
                texts = [_to_texts(batch.column(name)) for name in columns]
                for fields in zip(*texts):
                    number += 1
                    yield number, list(fields)
        except (OSError, pyarrow.ArrowException) as error:
            raise _make_error(path, error) from None


def _open(path: str) -> Any:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(Path(path).expanduser())
    except (OSError, pyarrow.ArrowException) as error:
        raise _make_error(path, error) from None


def _make_error(path: str, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(f"{path} cannot be read as Parquet ({reason}); write it again")


def _is_text(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_integer(kind))


def _to_texts(column: pyarrow.Array) -> list[str]:
    return ["" if value is None else str(value).strip() for value in column.to_pylist()]
