"""The smallest value of a column in each row group of a Parquet file, as its footer states it.

pyarrow tells it only together with the largest one, which writers leave out if it has more than
some thousand bytes, as images have. The footer is read as the format defines it: a struct of
Thrift's compact protocol (apache/parquet-format, `parquet.thrift`).
"""

from __future__ import annotations

import os
from typing import Any

FOOTER_END = 8
"""Bytes after the footer: its length and a magic number, four each."""
ROW_GROUPS, COLUMNS, META_DATA, PATH, STATISTICS = 4, 1, 3, 3, 12
"""Fields of FileMetaData, RowGroup, ColumnChunk, and two of ColumnMetaData."""
MIN_VALUE = 6
"""A field of Statistics."""
TRUE, FALSE, BYTE, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
INTEGERS = (4, 5, 6)
"""Types of the protocol, and those of 16, 32 and 64 bits."""

Struct = dict[int, Any]
"""Number of a field -> its value."""


def read_minima(path: str, column: str) -> dict[int, bytes]:
    """Return the smallest value of a column by the number of the row group, where it is stated.

    Args:
        path: A Parquet file that pyarrow reads.
        column: Path of a leaf column in the schema, joined by points.
    """
    with open(path, "rb") as stream:
        stream.seek(-FOOTER_END, os.SEEK_END)
        size = int.from_bytes(stream.read(4), "little")
        stream.seek(-FOOTER_END - size, os.SEEK_END)
        content = stream.read(size)
    try:
        groups: list[Struct] = CompactReader(content).read_struct()[ROW_GROUPS]
    except (LookupError, ValueError):
        return {}  # in a newer form
    minima = {n: _find_minimum(group, column.encode()) for n, group in enumerate(groups)}
    return {number: minimum for number, minimum in minima.items() if minimum is not None}


def _find_minimum(group: Struct, column: bytes) -> bytes | None:
    for chunk in group.get(COLUMNS, ()):
        facts: Struct = chunk.get(META_DATA, {})
        if b".".join(facts.get(PATH, ())) == column:
            minimum: bytes | None = facts.get(STATISTICS, {}).get(MIN_VALUE)
            return minimum
    return None


class CompactReader:
    """Reads values of Thrift's compact protocol from bytes."""

    def __init__(self, content: bytes) -> None:
        self._content, self._position = content, 0

    def read_struct(self) -> Struct:
        """Return the fields of the struct that comes next."""
        fields: Struct = {}
        number = 0
        while header := self._read_byte():
            step, kind = divmod(header, 16)
            number = number + step if step else self._read_integer()
            fields[number] = kind == TRUE if kind in (TRUE, FALSE) else self._read_value(kind)
        return fields

    def _read_value(self, kind: int) -> Any:
        if kind in INTEGERS:
            return self._read_integer()
        if kind == BINARY:
            return self._read_bytes(self._read_unsigned())
        if kind in (LIST, SET):
            size, element = divmod(self._read_byte(), 16)
            size = self._read_unsigned() if size == 15 else size
            return [self._read_value(element) for _ in range(size)]
        if kind == STRUCT:
            return self.read_struct()
        if kind in (TRUE, FALSE, BYTE):  # of a list
            return self._read_byte()
        if kind == DOUBLE:
            return self._read_bytes(8)
        if kind == MAP:
            kinds = divmod(self._read_byte(), 16) if (size := self._read_unsigned()) else (0, 0)
            return [tuple(map(self._read_value, kinds)) for _ in range(size)]
        raise ValueError(f"there is no type {kind}")

    def _read_byte(self) -> int:
        self._position += 1
        return self._content[self._position - 1]

    def _read_bytes(self, size: int) -> bytes:
        self._position += size
        return self._content[self._position - size : self._position]

    def _read_unsigned(self) -> int:
        value = shift = 0
        while (byte := self._read_byte()) >= 128:
            value |= (byte - 128) << shift
            shift += 7
        return value | byte << shift

    def _read_integer(self) -> int:
        value = self._read_unsigned()  # zigzag: 0, -1, 1, -2, ...
        return value >> 1 ^ -(value & 1)
