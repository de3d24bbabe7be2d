"""Files that are written once, rewritten as a whole, or extended line by line.

A file that is written once is complete and fsynced before it is linked into place, so a second
writer fails. A file that is rewritten goes through a temporary file and a rename. A file that grows
is JSON lines; readers skip an incomplete line.
"""

from __future__ import annotations

import errno
import json
import os
import re
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

JSON_ERRORS = (json.JSONDecodeError, UnicodeDecodeError, RecursionError)
"""Raised for bytes that are not valid JSON; the last one for JSON that is nested too deeply."""
SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
"""Half of a character that JSON writes as two escapes; alone, it is no text."""


def parse_json(text: str | bytes) -> Any:
    """Return a JSON value; NaN and infinities are accepted.

    Raises:
        JSONDecodeError, UnicodeDecodeError, RecursionError: it is none, or has numbers of thousands
            of digits.
    """
    text = text if isinstance(text, str) else text.decode("utf-8")
    try:
        return json.loads(text)
    except JSON_ERRORS:
        raise
    except ValueError as error:
        raise json.JSONDecodeError(str(error), "", 0) from None


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error, or its cause, reports a full disk or an exceeded quota."""
    cause = error.__cause__ or error
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)


def resolve_staged_path(path: str) -> Path:
    """Return the path from which to read `path`: of its copy on this node if it is staged.

    UNICLIP_STAGED=<folder>:<its copy> is set by jobs that copy data to a node's local disk. Paths
    outside the folder, and those without a copy on this node, are returned unchanged, with `~`
    expanded.
    """
    original = Path(path).expanduser()
    folder, _, copy = os.environ.get("UNICLIP_STAGED", "").partition(":")
    if folder and copy and original.absolute().is_relative_to(folder):
        staged = Path(copy, original.absolute().relative_to(folder))
        return staged if staged.exists() else original
    return original


def write_once(path: Path, data: bytes) -> bool:
    """Write `data` to `path` atomically, unless the file exists; return whether it was written.

    Nothing is written beside an existing file either: its folder may be another user's.
    If `link` reports an error, the link count of the temporary file decides: NFS may lose the reply
    of a link that was made.
    """
    if os.path.exists(path):
        return False
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
    """Link the complete file `source` (same file system) to `path`, unless that exists.

    Returns:
        Whether the link was made.
    """
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


def atomic_write(
    path: Path, data: bytes | Callable[[BinaryIO], object], *, is_durable: bool = True
) -> None:
    """Write a file to `path` atomically, over an existing one.

    Args:
        path: The file; missing folders are created.
        data: Its bytes, or a function that writes them to a stream.
        is_durable: Whether it must outlive a crash of the machine (fsync, which can take seconds);
            else a reader after such a crash may find it empty or as it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _write_temporary(path, data, is_durable)
    try:
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if is_durable:
        _sync_folder(path.parent)


def append_jsonl(path: Path, record: Mapping[str, Any]) -> None:
    """Append a record to `path` as a JSON line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+") as stream:
        # An earlier writer may have been killed in the middle of a line.
        ends_mid_line = stream.tell() and _read_last_byte(stream) != b"\n"
        stream.write(b"\n" * bool(ends_mid_line) + json.dumps(record).encode() + b"\n")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the records of a JSON-lines file, without incomplete lines; none without a file."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    records = []
    for line in text.splitlines():
        try:
            record = _decode_line(line)
        except (*JSON_ERRORS, UnicodeEncodeError):
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def _decode_line(line: str) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.MsgspecError, RecursionError):
        value = parse_json(line)  # accepts NaN, which metrics of a diverged run contain
        if SURROGATE_ESCAPE.search(line):
            json.dumps(value, ensure_ascii=False).encode()  # as data frames are, by UTF-8
        return value


def _read_last_byte(stream: BinaryIO) -> bytes:
    stream.seek(-1, os.SEEK_END)
    return stream.read(1)


def _write_temporary(
    path: Path, data: bytes | Callable[[BinaryIO], object], is_durable: bool = True
) -> Path:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as stream:
            if callable(data):
                data(stream)
            else:
                stream.write(data)
            stream.flush()
            if is_durable:
                os.fsync(stream.fileno())
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
