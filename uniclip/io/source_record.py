"""What an index in the cache folder was made of, so that one of files that changed can be found."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from uniclip.io.atomic import JSON_ERRORS, atomic_write, parse_json

RECORD_FILE = "sources.json"


def write_sources(
    folder: Path,
    version: int,
    files: Iterable[tuple[str, int, int]],
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write what an index is made of into its folder.

    Args:
        folder: The folder.
        version: Version of the index.
        files: Path, bytes and time of change (ns) of each file.
        facts: What else it is made of, as plain JSON (`read_facts`).

    Raises:
        OSError: It cannot be written.
    """
    record = {"version": version, "files": [list(file) for file in files], "facts": dict(facts)}
    atomic_write(folder / RECORD_FILE, json.dumps(record).encode())


def read_facts(folder: Path) -> dict[str, Any]:
    """Return the facts of an index; empty if they are not known."""
    try:
        facts = parse_json((folder / RECORD_FILE).read_text(encoding="utf-8"))["facts"]
    except (OSError, *JSON_ERRORS, LookupError, TypeError):
        return {}
    return facts if isinstance(facts, dict) else {}


def is_outdated(folder: Path, version: int) -> bool:
    """Return whether an index can never be used again.

    It has another version, or one of its files was changed, or removed from a folder that is still
    there. One whose folder is gone too may be on a disk that is not mounted.
    """
    try:
        record = parse_json((folder / RECORD_FILE).read_text(encoding="utf-8"))
        files = [(str(path), int(size), int(mtime)) for path, size, mtime in record["files"]]
        is_other = record["version"] != version
    except (OSError, *JSON_ERRORS, LookupError, TypeError, ValueError):
        return False  # unknown
    return is_other or any(_has_changed(*file) for file in files)


def _has_changed(path: str, size: int, mtime_ns: int) -> bool:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return os.path.isdir(os.path.dirname(path))
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) != (size, mtime_ns)
