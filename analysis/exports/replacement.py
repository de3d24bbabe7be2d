"""Replacement of an exported folder by one that was just written beside it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


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
