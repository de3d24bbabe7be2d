"""Atomic replacement of a report's folder; builders that run at once do not disturb each other."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2
ABANDONED_SECONDS = 3600.0
"""Age from which an unfinished folder is taken to be left by a process that died."""


@contextmanager
def replace_folder(
    target: Path, carry: Callable[[Path, Path], None] | None = None
) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` if the block ends without an error.

    Args:
        target: the folder that is replaced.
        carry: called with the old and the new folder, it keeps files of the old one. It is called
            before the new folder takes the old one's name, and once more before the old one is
            deleted, for what was written in between.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    staging = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    staging.mkdir()
    try:
        yield staging
        if carry is not None:
            carry(target, staging)
        _move_into_place(staging, target, carry)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _move_into_place(
    staging: Path, target: Path, carry: Callable[[Path, Path], None] | None
) -> None:
    """Rename `staging` to `target`, and delete the old content of `target`."""
    while True:
        try:
            os.rename(staging, target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if _exchange_folders(staging, target):
            if carry is not None:
                carry(staging, target)
            return
        old_folder = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):  # another builder has just moved it
            os.rename(target, old_folder)
            if carry is not None:
                carry(old_folder, staging)
            shutil.rmtree(old_folder, ignore_errors=True)


def _exchange_folders(first: Path, second: Path) -> bool:
    """Swap the names of two folders atomically; return False if the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    names = os.fsencode(first), os.fsencode(second)
    return bool(renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0)


def _remove_abandoned(target: Path) -> None:
    for folder in target.parent.glob(f".{target.name}.*"):
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
