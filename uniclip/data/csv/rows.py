"""The rows of a user's CSV, checked: every fault is named by file, line and column."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uniclip.config import CsvData
from uniclip.errors import UserError, unknown


@dataclass
class Sample:
    """One picture and what its rows say."""

    line: int
    """Of its first row in the file."""
    path: str
    captions: list[str] = field(default_factory=list)
    label: str | None = None
    bytes: int = 0
    """Size of the picture's file."""


def read(config: CsvData) -> list[Sample]:
    """The samples in the order of the file; `UserError` names file, line and column."""
    folder = Path(config.path).parent
    samples: dict[str, Sample] = {}
    for line, row in _rows(config):
        path, text = row[config.picture], row[config.caption]
        label = row[config.label] if config.label else None
        if path not in samples:
            samples[path] = Sample(line, path, label=label or None)
            samples[path].bytes = _stat(config, line, folder / path)
        sample = samples[path]
        if (label or None) != sample.label:
            raise UserError(
                f"{config.path} line {line}, column {config.label!r}: {path} is {label!r} here "
                f"but {sample.label!r} on line {sample.line}; give a picture one label"
            )
        if text not in sample.captions:
            sample.captions.append(text)
    if not samples:
        raise UserError(f"{config.path} has no rows; add at least one picture and caption")
    return list(samples.values())


def _rows(config: CsvData) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and stripped fields of each row, columns checked."""
    columns = [c for c in (config.picture, config.caption, config.label) if c is not None]
    reader = None
    try:
        with open(config.path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            _check_columns(config, list(reader.fieldnames or ()))
            for row in reader:
                yield reader.line_num, _fields(config, reader.line_num, row, columns)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        line = f" line {reader.line_num + 1}" if reader is not None else ""
        raise UserError(
            f"{config.path}{line} cannot be read as CSV in UTF-8 ({first_line(error)})"
        ) from None


def _fields(config: CsvData, line: int, row: dict[Any, Any], columns: list[str]) -> dict[str, str]:
    """The row's text by column (csv files surplus fields under None, absent ones as None)."""
    if None in row or None in row.values():
        found = len([v for k, v in row.items() if k is not None and v is not None])
        raise UserError(
            f"{config.path} line {line}: {found + len(row.get(None, ()))} fields where the header "
            "has another number; put texts with commas in double quotes"
        )
    fields = {c: str(row[c]).strip() for c in columns}
    for column in (config.picture, config.caption):
        if not fields[column]:
            raise UserError(
                f"{config.path} line {line}, column {column!r} is empty; fill it or remove the row"
            )
    return fields


def _check_columns(config: CsvData, found: list[str]) -> None:
    for key in ("picture", "caption", "label"):
        column = getattr(config, key)
        if column is not None and column not in found:
            hint = str(unknown(f"column (data.{key})", column, found)) if found else "it is empty"
            raise UserError(f"{config.path} line 1: {hint}")


def _stat(config: CsvData, line: int, path: Path) -> int:
    try:
        if path.is_file():
            return os.stat(path).st_size
    except (OSError, ValueError):
        pass  # a name that no file can have is a missing file too
    raise UserError(
        f"{config.path} line {line}, column {config.picture!r}: there is no picture {path}; "
        f"paths are relative to the CSV's folder"
    )


def first_line(error: BaseException) -> str:
    """What an error says first, or its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]
