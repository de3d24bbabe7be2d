"""Reading of a table of texts: its encoding, its separator, its header, and the line of each row.

A table is a text file with one record a line, quoted as in CSV (RFC 4180), of any separator, or a
Parquet file, whose rows count as lines. Errors name the file and the line, counted from 1, on which
the faulty record or byte stands.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from uniclip.data.csv import parquet_table
from uniclip.data.csv.encodings import CHECKED_BYTES, describe_bad_byte, is_binary
from uniclip.errors import UserError

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
"""The separators that are recognized, the most usual one first, and what they are called."""
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is its start
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
PARQUET = "parquet"
"""Encoding of a Parquet file."""
SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)
"""The first line that spreadsheets write or read to state the separator."""


@dataclass(frozen=True)
class TableFormat:
    """How the text of a table is read."""

    path: str
    encoding: str
    separator: str
    header: tuple[str, ...]
    """Names of the columns, without spaces around them; "" for a column without a name."""
    header_line: int
    """Line of the header, counted from 1."""

    def find_column(self, name: str) -> int:
        """Return the position of a column; `UserError` if several columns have this name."""
        positions = [i for i, column in enumerate(self.header) if column == name]
        if len(positions) > 1:
            places = " and ".join(str(position + 1) for position in positions)
            raise UserError(
                f"{self.path} line {self.header_line}: the column {name!r} is repeated (columns "
                f"{places}); rename or remove one"
            )
        return positions[0]


def detect_format(path: str, separator: str | None, wanted_columns: Sequence[str]) -> TableFormat:
    """Return how to read the table in `path`.

    Args:
        path: The file.
        separator: The character that separates fields; None = the one that separates the header
            into the most `wanted_columns`, or else into the most columns.
        wanted_columns: Names of columns, of which the file may have other ones.

    Raises:
        UserError: The file is empty, cannot be read, or is not text in UTF-8, UTF-16 or UTF-32.
    """
    encoding = _detect_encoding(path)
    if encoding == PARQUET:
        if separator is not None:
            raise UserError(
                f"{path} is a Parquet file, without separators: leave data.separator out"
            )
        return TableFormat(path, PARQUET, ",", parquet_table.list_text_columns(path), 0)
    with _open_text(path, encoding) as stream:
        line_number, first_line = _read_first_line(stream)
        if match := SEPARATOR_LINE.fullmatch(first_line):
            separator = separator or match[1]
            skipped_lines = line_number
            line_number, first_line = _read_first_line(stream)
            line_number += skipped_lines
    if not first_line:
        raise UserError(f"{path} line 1: it is empty; write a header with the names of the columns")
    best_separator = separator or _choose_separator(first_line, wanted_columns)
    return TableFormat(
        path,
        encoding,
        best_separator,
        tuple(_split_header(first_line, best_separator)),
        line_number,
    )


def _read_first_line(stream: TextIO) -> tuple[int, str]:
    """Return number and text of the next line that is not blank; "" at the end of the file."""
    for number, line in enumerate(stream, 1):
        if line.strip():
            return number, line
    return 1, ""


def _choose_separator(header_line: str, wanted_columns: Sequence[str]) -> str:
    def count_columns(separator: str) -> tuple[int, int]:
        header = _split_header(header_line, separator)
        return len(set(header) & set(wanted_columns)), len(header)

    return max(SEPARATORS, key=count_columns)  # of equal ones the first


def _split_header(line: str, separator: str) -> list[str]:
    try:
        rows = list(csv.reader([line], delimiter=separator, skipinitialspace=True))
    except csv.Error:
        return [line.strip()]
    return [name.strip() for name in rows[0]] if rows else []


def iterate_rows(table: TableFormat) -> Iterator[tuple[int, list[str]]]:
    """Yield the line on which each row begins, and its fields, as many as the header has.

    Fields are stripped. Blank lines are left out, as are surplus fields at the end of a row that
    are empty.

    Raises:
        UserError: A row has more or fewer fields, or is not quoted as in CSV.
    """
    if table.encoding == PARQUET:
        yield from parquet_table.iterate_rows(table.path, table.header)
        return
    num_columns = len(table.header)
    with _open_text(table.path, table.encoding) as stream:
        for _ in range(table.header_line):
            next(stream)
        reader = csv.reader(stream, delimiter=table.separator, strict=True, skipinitialspace=True)
        line = table.header_line + 1
        try:
            for fields in reader:
                while len(fields) > num_columns and not fields[-1].strip():
                    fields.pop()
                if fields and any(map(str.strip, fields)):
                    if len(fields) != num_columns:
                        raise UserError(_describe_field_count(table, line, fields))
                    yield line, [field.strip() for field in fields]
                line = table.header_line + reader.line_num + 1
        except csv.Error as error:
            raise UserError(_describe_quoting_error(table, line, error)) from None


def _describe_field_count(table: TableFormat, line: int, fields: list[str]) -> str:
    separator = SEPARATORS.get(table.separator, repr(table.separator))
    return (
        f"{table.path} line {line}: {len(fields)} fields, not as many as the header "
        f"({len(table.header)}); put texts with {separator} in double quotes"
    )


def _describe_quoting_error(table: TableFormat, line: int, error: csv.Error) -> str:
    unclosed = "unexpected end of data" in str(error) or "field limit" in str(error)
    reason = (
        "a double quote that begins a field here is not closed"
        if unclosed
        else f"the double quotes of this row are not those of CSV ({error})"
    )
    return f'{table.path} line {line}: {reason}; write a double quote in a text as ""'


def _detect_encoding(path: str) -> str:
    with _convert_errors(path), open(Path(path).expanduser(), "rb") as stream:
        first_bytes = stream.read(CHECKED_BYTES)
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if first_bytes.startswith(mark):
            return encoding
    if parquet_table.is_parquet(first_bytes):
        return PARQUET
    if is_binary(first_bytes):
        raise UserError(f"{path} is not a text file in UTF-8; save it as CSV, in UTF-8")
    return "utf-8"


@contextmanager
def _open_text(path: str, encoding: str) -> Iterator[TextIO]:
    """Open a text file with the ends of lines as they are; errors of reading become `UserError`."""
    with (
        _convert_errors(path, encoding),
        open(Path(path).expanduser(), newline="", encoding=encoding) as stream,
    ):
        yield stream


@contextmanager
def _convert_errors(path: str, encoding: str = "utf-8") -> Iterator[None]:
    try:
        yield
    except UnicodeError as error:
        if encoding.startswith("utf-8"):
            raise UserError(describe_bad_byte(path)) from None
        raise UserError(
            f"{path} is not text in {encoding.upper()} ({error}); save it as UTF-8"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from None
