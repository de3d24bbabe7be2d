"""The version of a store's format, and the refusal of a newer one.

`format.json` in the root of a store holds it. A store without the file has format 1. The version is
raised when an older version of this package would misread what is written; a field with a default
that is added to a record is such a change, since records with unknown fields are refused.
"""

from __future__ import annotations

import json
from pathlib import Path

from uniclip.errors import UserError
from uniclip.io.atomic import JSON_ERRORS, parse_json, write_once

FORMAT_VERSION = 1
FILE_NAME = "format.json"


def require_readable(root: Path) -> None:
    """Raise `UserError` if the store at `root` has a newer format, or its version is damaged."""
    try:
        data = (root / FILE_NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    version = parse(data)
    if version is None:
        raise UserError(f"{root / FILE_NAME} is damaged: it should hold {describe().strip()}")
    if version > FORMAT_VERSION:
        raise UserError(
            f"store={root} has format {version}, and this version of uniclip reads formats up to "
            f"{FORMAT_VERSION}: install the version that wrote it, or a newer one"
        )


def write(root: Path) -> None:
    """Record the current format at `root`, unless a format is recorded."""
    write_once(root / FILE_NAME, describe().encode())


def describe() -> str:
    """Return the content of the file for the current format."""
    return json.dumps({"format": FORMAT_VERSION}) + "\n"


def parse(data: bytes) -> int | None:
    """Return the version in the content of a file; None if it holds none."""
    try:
        value = parse_json(data)
    except JSON_ERRORS:
        return None
    version = value.get("format") if isinstance(value, dict) else None
    return version if type(version) is int and version > 0 else None
