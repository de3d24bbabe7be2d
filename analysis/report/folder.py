"""A report's folder: made aside, then put in place whole; two builders cannot break each other."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2
ABANDONED_SECONDS = 3600.0
"""After which a half-made folder belongs to a builder that died."""


@contextmanager
def replaced(place: Path) -> Iterator[Path]:
    """An empty folder beside `place`; when the block ends well it takes the place, whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(place)
    aside = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    aside.mkdir()
    try:
        yield aside
        _put(aside, place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _put(aside: Path, place: Path) -> None:
    """Give `aside` the name `place`; what stood there goes away."""
    while True:
        try:
            os.rename(aside, place)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if _exchanged(aside, place):
            return
        old = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):  # another builder has just moved it
            os.rename(place, old)
            shutil.rmtree(old, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Swap two folders' names in one step; False where the system cannot."""
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    return bool(swap(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0)


def _clear_abandoned(place: Path) -> None:
    for folder in place.parent.glob(f".{place.name}.*"):
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
