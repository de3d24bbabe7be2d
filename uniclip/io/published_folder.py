"""Folders that are computed once, by one of several processes, and then used by all.

The folder is written beside its place and renamed: it is complete or absent. One process writes
while the others wait for its lock, which the operating system releases when a process dies.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from uniclip.errors import UserError


def get_or_publish(
    folder: Path, write: Callable[[Path], None], is_whole: Callable[[Path], bool]
) -> None:
    """Make a folder unless it is there.

    Args:
        folder: Where it is.
        write: Writes its files into a new, empty folder.
        is_whole: Whether a folder can be used; one that cannot is written again.

    Raises:
        UserError: It cannot be written.
    """
    if is_whole(folder):
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder.with_name(f"{folder.name}.lock")):
            if is_whole(folder):
                return
            for leftover in folder.parent.glob(f".{folder.name}.*"):  # of a process that died
                shutil.rmtree(leftover, ignore_errors=True)
            temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
            temporary.mkdir()
            try:
                write(temporary)
                _put_in_place(temporary, folder, is_whole)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror or error}); make room, or set "
            "UNICLIP_CACHE to another folder"
        ) from None


def is_in_use(folder: Path) -> bool:
    """Return whether a folder that has another name until it is complete may be being written."""
    if not folder.name.startswith("."):
        return False
    name = folder.name[1:].rpartition(".")[0]
    try:
        with open(folder.with_name(f"{name}.lock"), "r+b") as stream:  # NFS locks no other mode
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # another process has it, or there are no locks
        return True
    return False


def _put_in_place(temporary: Path, folder: Path, is_whole: Callable[[Path], bool]) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:  # another one is there: of a process that did not see the lock, or damaged
        if is_whole(folder):
            return
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(temporary, folder)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; on a file system without locks, hold none."""
    with open(path, "ab") as stream:
        with suppress(OSError):
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
