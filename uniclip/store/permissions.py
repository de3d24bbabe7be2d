"""Who may read and write a store that several users share.

A store is shared if its folder lets its group write. Files and folders that are created in it then
get the group's permissions too, whatever umask a user has set; that they belong to the group is
what the set-group-id bit of the folder does (`chmod g+ws`).
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

AnyPath = TypeVar("AnyPath", str, Path)


def find_existing(path: Path) -> Path:
    """Return a path, or the first of its parents that exists."""
    return next(p for p in (path, *path.parents) if os.path.lexists(p))


def share_with_group(root: Path) -> None:
    """Let this process create files in the store at `root` with the permissions of its group.

    The process's umask loses those bits of the group that the folder has. A store that does not
    exist yet is shared if the folder that it is created in lets its group write and has the
    set-group-id bit. Nothing changes if the store is not shared.
    """
    try:
        existing = find_existing(root)
        mode = existing.stat().st_mode
    except OSError:
        return
    if mode & stat.S_IWGRP and (existing == root or mode & stat.S_ISGID):
        umask = read_umask()
        os.umask(umask & ~(mode & stat.S_IRWXG))


def read_umask() -> int:
    """Return the umask of this process."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def find_unwritable(paths: Iterable[AnyPath]) -> AnyPath | None:
    """Return the first of the paths that exists and that this user may not write, or None."""
    return _find_denied(paths, os.W_OK)


def find_unreadable(paths: Iterable[AnyPath]) -> AnyPath | None:
    """Return the first of the paths that exists and that this user may not read, or None."""
    return _find_denied(paths, os.R_OK)


def _find_denied(paths: Iterable[AnyPath], mode: int) -> AnyPath | None:
    for path in paths:
        if os.access(path, mode | os.X_OK):  # the usual case, one call
            continue
        folder_mode = os.X_OK if os.path.isdir(path) else 0
        if os.path.exists(path) and not os.access(path, mode | folder_mode):
            return path
    return None


def describe_restrictive_umask(root: Path) -> str:
    """Describe how this process's umask keeps others out of a store that lets everyone write.

    The string is empty if the store does not, or if the umask keeps nobody out.
    """
    try:
        mode = root.stat().st_mode
    except OSError:
        return ""
    umask = read_umask()
    if not mode & stat.S_IWOTH or not umask & stat.S_IRWXO:
        return ""
    return f"every user may write {root}, but not the files made with umask {umask:03o}"


def describe_denial(path: Path) -> str:
    """Describe in a clause why this user may not use a path: whose it is, and its mode.

    If the path is in a folder that cannot be searched, the clause is about that folder.
    """
    for candidate in (path, *path.parents):
        try:
            status = candidate.stat()
        except OSError:
            continue
        if candidate == path or not os.access(candidate, os.X_OK):
            owner = get_user_name(status.st_uid)
            return f"{candidate} belongs to {owner} ({stat.filemode(status.st_mode)})"
    return f"{path} is not accessible"


def describe_remedy(path: Path, root: Path) -> str:
    """Describe what makes a path in the store at `root` usable for everyone who shares it."""
    try:
        owner = get_user_name(path.stat().st_uid)
    except OSError:
        owner = "its owner"
    return f"{owner} runs chmod -R g+rwX {root}, and chmod g+s on its folders"


def get_user_name(uid: int) -> str:
    """Return the name of a user, or `user <id>` if the system has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
