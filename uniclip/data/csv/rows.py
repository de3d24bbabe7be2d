"""Reading and checking the rows of a CSV file; errors name file, line and column."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uniclip.config import CsvData
from uniclip.errors import UserError, make_unknown_name_error


@dataclass
class CsvSample:
    """One image with the captions and the label of its rows."""

    line: int
    """Line of its first row in the file."""
    path: str
    captions: list[str] = field(default_factory=list)
    label: str | None = None
    file_size: int = 0
    """Size of the image file, in bytes."""


def read_samples(config: CsvData) -> list[CsvSample]:
    """Return the samples in the order of the file; `UserError` names file, line and column."""
    folder = Path(config.path).parent
    samples: dict[str, CsvSample] = {}
    for line, row in _iterate_rows(config):
        path, caption = row[config.image_column], row[config.caption_column]
        label = row[config.label_column] if config.label_column else None
        if path not in samples:
            samples[path] = CsvSample(line, path, label=label or None)
            samples[path].file_size = _read_file_size(config, line, folder / path)
        sample = samples[path]
        if (label or None) != sample.label:
            raise UserError(
                f"{config.path} line {line}, column {config.label_column!r}: {path} is {label!r} "
                f"here but {sample.label!r} on line {sample.line}; give each image one label"
            )
        if caption not in sample.captions:
            sample.captions.append(caption)
    if not samples:
        raise UserError(f"{config.path} has no rows; add at least one image and caption")
    return list(samples.values())


def _iterate_rows(config: CsvData) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and stripped fields of each row; the header is checked first."""
    columns = [
        c
        for c in (config.image_column, config.caption_column, config.label_column)
        if c is not None
    ]
    reader = None
    try:
        with open(config.path, newline="", encoding="utf-8-sig") as csv_file:
            reader = csv.DictReader(csv_file, strict=True)
            _check_columns(config, list(reader.fieldnames or ()))
            for row in reader:
                yield reader.line_num, _extract_fields(config, reader.line_num, row, columns)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        line = f" line {reader.line_num + 1}" if reader is not None else ""
        raise UserError(
            f"{config.path}{line} cannot be read as CSV in UTF-8 ({format_first_line(error)})"
        ) from None


def _extract_fields(
    config: CsvData, line: int, row: dict[Any, Any], columns: list[str]
) -> dict[str, str]:
    """Return the text of a row by column.

    The csv module lists surplus fields under the key None, and missing ones as the value None.
    """
    if None in row or None in row.values():
        field_count = len([v for k, v in row.items() if k is not None and v is not None])
        field_count += len(row.get(None, ()))
        raise UserError(
            f"{config.path} line {line}: {field_count} fields, not as many as the header; put "
            "texts with commas in double quotes"
        )
    text_by_column = {c: str(row[c]).strip() for c in columns}
    for column in (config.image_column, config.caption_column):
        if not text_by_column[column]:
            raise UserError(
                f"{config.path} line {line}, column {column!r} is empty; fill it or remove the row"
            )
    return text_by_column


def _check_columns(config: CsvData, header: list[str]) -> None:
    for key in ("image_column", "caption_column", "label_column"):
        column = getattr(config, key)
        if column is not None and column not in header:
            message = (
                str(make_unknown_name_error(f"column (data.{key})", column, header))
                if header
                else "it is empty"
            )
            raise UserError(f"{config.path} line 1: {message}")


def _read_file_size(config: CsvData, line: int, path: Path) -> int:
    try:
        if path.is_file():
            return os.stat(path).st_size
    except (OSError, ValueError):
        pass  # a name that no file can have counts as a missing file
    raise UserError(
        f"{config.path} line {line}, column {config.image_column!r}: there is no image {path}; "
        "paths are relative to the folder of the CSV file"
    )


def format_first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class."""
    return (str(error).splitlines() or [type(error).__name__])[0]
