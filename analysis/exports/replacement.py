"""Folders that an export writes beside their place, and their renaming in place of older ones."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

WORK_PREFIX = ".partial-"
"""Begin of the names of folders that are being written."""
LOCK_NAME = "lock"
"""A file with the name of the host, which the process that writes the folder has locked."""


@contextmanager
def open_work_folder(parent: Path) -> Iterator[Path]:
    """Make a folder to write in, which is deleted at the end.

    Before that, those of exports of this host that were killed are deleted. The operating system
    releases the lock of a process that ends; on a file system without locks they stay.
    """
    _delete_abandoned_folders(parent)
    with TemporaryDirectory(prefix=WORK_PREFIX, dir=parent) as name:
        unlocked_path = Path(name) / f"{LOCK_NAME}.new"
        with open(unlocked_path, "w") as lock:
            lock.write(socket.gethostname())
            lock.flush()
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                unlocked_path.rename(Path(name) / LOCK_NAME)
            yield Path(name)


def _delete_abandoned_folders(parent: Path) -> None:
    for path in parent.glob(f"{WORK_PREFIX}*/{LOCK_NAME}"):
        with suppress(OSError), open(path, "r+") as lock:
            if lock.read() == socket.gethostname():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent)


def replace_folder(path: Path, new_folder: Path, old_folders: Iterable[Path]) -> None:
    """Rename a folder to `path`, in place of older ones.

    If another export of the same is faster, its folder stays.

    Args:
        path: where the folder shall be.
        new_folder: the folder, on the same file system.
        old_folders: folders that it replaces; they need not exist.
    """
    for folder in old_folders:
        with suppress(FileNotFoundError):  # another export deletes it too
            shutil.rmtree(folder)
    try:
        os.replace(new_folder, path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
