"""Plain files: what is published once, what is rewritten whole, what grows by lines.

What is published once is complete, fsynced and linked into place, so a second publisher fails; what
one attempt rewrites goes through a temporary file and a rename; what grows is JSON lines whose torn
last line a reader passes over.
"""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

JSON_ERRORS = (json.JSONDecodeError, UnicodeDecodeError, RecursionError)
"""What bytes that are no JSON of ours raise; the last, where they are nested without end."""


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is that of a full disk or a spent quota."""
    cause = error.__cause__ or error
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def resolve_staged_path(path: str) -> Path:
    """Where to read what lies at `path` (`~` is the user's home): its copy on this node if staged.

    UNICLIP_STAGED=<folder>:<its copy> is set by who copies data to a node's own disk; of what is
    not below the folder, or on a node without a copy, the path stays as it is.
    """
    original = Path(path).expanduser()
    folder, _, copy = os.environ.get("UNICLIP_STAGED", "").partition(":")
    if folder and copy and original.absolute().is_relative_to(folder):
        staged = Path(copy, original.absolute().relative_to(folder))
        return staged if staged.exists() else original
    return original


def write_once(path: Path, data: bytes) -> bool:
    """Put `data` at `path` once and whole; False if somebody has published there before.

    When `link` reports an error, the link count of the temporary file decides (NFS may lose the
    answer of a link that happened).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _write_temporary(path, data)
    try:
        try:
            os.link(temporary, path)
            created = True
        except OSError:
            created = os.stat(temporary).st_nlink == 2
            if not created and not path.exists():
                raise
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return created


def link_once(path: Path, source: Path) -> bool:
    """Link the complete file `finished` (same file system) to `path` once; False if it is taken."""
    with open(source, "rb") as stream:
        os.fsync(stream.fileno())
    links = os.stat(source).st_nlink
    try:
        os.link(source, path)
        created = True
    except OSError:
        created = os.stat(source).st_nlink == links + 1
        if not created and not path.exists():
            raise
    _sync_folder(path.parent)
    return created


def atomic_write(path: Path, data: bytes) -> None:
    """Put `data` at `path`, whole or not at all, over whatever is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _write_temporary(path, data)
    try:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def append_jsonl(path: Path, record: Mapping[str, Any]) -> None:
    """One more JSON line at the end of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+") as stream:
        ends_mid_line = (
            stream.tell() and _read_last_byte(stream) != b"\n"
        )  # whoever wrote it was killed
        stream.write(b"\n" * bool(ends_mid_line) + json.dumps(record).encode() + b"\n")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; a torn line is passed over, no file has none."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except JSON_ERRORS:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def _read_last_byte(stream: BinaryIO) -> bytes:
    stream.seek(-1, os.SEEK_END)
    return stream.read(1)


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
