"""The rows of a user's CSV, checked: every fault is named by file, line and column."""

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
    """One picture and what its rows say."""

    line: int
    """Of its first row in the file."""
    path: str
    captions: list[str] = field(default_factory=list)
    label: str | None = None
    file_size: int = 0
    """Size of the picture's file."""


def read_samples(config: CsvData) -> list[CsvSample]:
    """The samples in the order of the file; `UserError` names file, line and column."""
    folder = Path(config.path).parent
    samples: dict[str, CsvSample] = {}
    for line, row in _iterate_rows(config):
        path, caption = row[config.image_column], row[config.caption_column]
        label = row[config.label_column] if config.label_column else None
        if path not in samples:
            samples[path] = CsvSample(line, path, label=label or None)
            samples[path].file_size = _read_image_size(config, line, folder / path)
        sample = samples[path]
        if (label or None) != sample.label:
            raise UserError(
                f"{config.path} line {line}, column {config.label_column!r}: {path} is {label!r} here "
                f"but {sample.label!r} on line {sample.line}; give a picture one label"
            )
        if caption not in sample.captions:
            sample.captions.append(caption)
    if not samples:
        raise UserError(f"{config.path} has no rows; add at least one picture and caption")
    return list(samples.values())


def _iterate_rows(config: CsvData) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and stripped fields of each row, columns checked."""
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
    """The row's text by column (csv files surplus fields under None, absent ones as None)."""
    if None in row or None in row.values():
        field_count = len([v for k, v in row.items() if k is not None and v is not None])
        raise UserError(
            f"{config.path} line {line}: {field_count + len(row.get(None, ()))} fields where the header "
            "has another number; put texts with commas in double quotes"
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


def _read_image_size(config: CsvData, line: int, path: Path) -> int:
    try:
        if path.is_file():
            return os.stat(path).st_size
    except (OSError, ValueError):
        pass  # a name that no file can have is a missing file too
    raise UserError(
        f"{config.path} line {line}, column {config.image_column!r}: there is no picture {path}; "
        f"paths are relative to the CSV's folder"
    )


def format_first_line(error: BaseException) -> str:
    """What an error says first, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]
