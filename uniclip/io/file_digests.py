"""Digests of files, kept in the user's cache folder between processes.

A digest is used again while the file's stat signature is the same: device, inode, size, and the
times of modification and of change. A file that is rewritten, replaced by a rename or copied over
with its times kept gets another time of change, which no program can set. A file that was changed
within the resolution of the clocks of file systems is always read.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from uniclip.io.atomic import JSON_ERRORS, atomic_write, parse_json
from uniclip.io.hashing import digest_file
from uniclip.io.memo import get_cache_folder

MIN_AGE_SECONDS = 2.0
"""A file that was changed more recently may be changed again without a new time of change."""
MAX_THREADS = 16
MIN_PARALLEL_BYTES = 2**26
"""Bytes of files from which on several threads read them."""

_digests: dict[str, tuple[tuple[int, ...], str]] = {}
"""Path -> signature and digest, of the files that this process has read."""


def read_signature(path: str | Path) -> tuple[int, ...]:
    """Return what differs after a file was rewritten or replaced, by its inode alone.

    Raises:
        OSError: There is no such file.
    """
    status = os.stat(path)
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def is_settled(signature: tuple[int, ...]) -> bool:
    """Return whether a further change of the file would change its signature."""
    return bool(signature) and time.time() - max(signature[3:]) / 1e9 > MIN_AGE_SECONDS


def digest_files(paths: Sequence[Path], memo_name: str = "") -> list[str]:
    """Return the blake2b digest of the content of each file, 32 hex digits.

    Args:
        paths: The files.
        memo_name: Name of the file in the cache folder that keeps the digests of these paths;
            "" = they are kept in this process only.

    Raises:
        OSError: A file cannot be read.
    """
    memo_path = get_cache_folder() / "digests" / f"{memo_name}.json" if memo_name else None
    stored = _read_memo(memo_path) if memo_path is not None else {}
    names = [os.path.abspath(path) for path in paths]
    entries: dict[str, tuple[tuple[int, ...], str]] = {}
    """Path -> signature and digest; no signature for a file that is being written."""
    unknown: list[str] = []
    for name in dict.fromkeys(names):
        signature = read_signature(name)
        for known in (_digests.get(name), stored.get(name)):
            if known is not None and known[0] == signature:
                entries[name] = known
                break
        else:
            unknown.append(name)
    try:
        for name, entry in zip(unknown, _digest_unknown(unknown)):
            entries[name] = entry
    finally:  # what was read before an interrupt or an error is not read again
        settled = {name: entry for name, entry in entries.items() if is_settled(entry[0])}
        _digests.update(settled)
        is_changed = settled.keys() & set(unknown) or settled.keys() - stored.keys()
        if memo_path is not None and is_changed:
            content = json.dumps({name: [list(s), d] for name, (s, d) in settled.items()})
            with suppress(OSError):
                atomic_write(memo_path, content.encode())
    return [entries[name][1] for name in names]


def _digest_unknown(names: Sequence[str]) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield signature and digest of each file in order; many bytes are read by several threads."""
    num_threads = min(os.cpu_count() or 1, len(names), MAX_THREADS)
    if num_threads < 2 or sum(map(os.path.getsize, names)) < MIN_PARALLEL_BYTES:
        yield from map(_digest_steady, names)
        return
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            yield from pool.map(_digest_steady, names)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def name_memo(*parts: Any) -> str:
    """Return the name of a memo file for what `parts` describe."""
    return blake2b("\0".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def _digest_steady(name: str) -> tuple[tuple[int, ...], str]:
    """Return the signature of a file while it was read, and its digest."""
    for _ in range(3):
        signature = read_signature(name)
        digest = digest_file(Path(name))
        if read_signature(name) == signature:
            return signature, digest
    return (), digest  # it is being written: never kept


def _read_memo(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        return {str(name): (tuple(entry[0]), str(entry[1])) for name, entry in content.items()}
    except (OSError, *JSON_ERRORS, AttributeError, TypeError, IndexError, KeyError):
        return {}
