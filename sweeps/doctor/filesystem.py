"""Checks of a file system: the operations that the store relies on, free bytes and inodes.

The store relies on four properties that most file systems have and some network mounts have not:
`link` fails if the name exists, `rename` replaces a file without a moment in which there is none,
`fsync` writes to the disk, and lines that several processes append to one file are all kept.
"""

from __future__ import annotations

import errno
import os
import threading
import uuid
from pathlib import Path

from sweeps.doctor.diagnostic import Diagnostic, ok, problem, warning
from uniclip.store import Plan, Store, permissions

OTHER_FILE_SYSTEM_FIX = "choose a store= on another file system"
FREE_SPACE_FIX = f"free some space (sweep.py gc), or {OTHER_FILE_SYSTEM_FIX}"
MIN_RUN_BYTES = 10**7
"""Bytes without which no run is started: a plan, logs and the checkpoint of a tiny model."""
NUM_REPETITIONS = 200
FILES_PER_RUN = 40
"""Files and folders of a run, also while it is active; a generous count."""


def check_file_system(folder: Path) -> list[Diagnostic]:
    """Try each operation in `folder`, which must be empty and writable; it is emptied again."""
    return [
        check(folder)
        for check in (check_exclusive_link, check_atomic_rename, check_fsync, check_append)
    ]


def check_permissions(store: Store, plan: Plan | None) -> list[Diagnostic]:
    """Check that the folders of a store are writable for this user, and its files for others.

    Args:
        store: a store that exists.
        plan: the plan whose sweep is written to; None for the store alone.
    """
    check, written_paths = "store permissions", store.list_written_folders()
    if plan is not None:
        written_paths += store.get_sweep(plan.sweep_id).list_written_paths()
    unwritable_path = permissions.find_unwritable(written_paths)
    if unwritable_path is not None:
        message = f"no permission to write: {permissions.describe_denial(unwritable_path)}"
        return [problem(check, message, permissions.describe_remedy(unwritable_path, store.root))]
    hidden_by = permissions.describe_restrictive_umask(store.root)
    if hidden_by:
        return [warning(check, hidden_by, f"chgrp and chmod g+ws {store.root}, or another umask")]
    return [ok(check, "every folder that a sweep writes to is writable")]


def check_exclusive_link(folder: Path) -> Diagnostic:
    """Check that `link(2)` fails if the name exists."""
    check = "exclusive link"
    source, target = _make_unique_path(folder), _make_unique_path(folder)
    try:
        source.write_bytes(b"")
        os.link(source, target)
        try:
            os.link(source, target)
        except FileExistsError:
            return ok(check, f"an existing name is not overwritten in {folder.parent}")
        message = f"a link replaces an existing name in {folder.parent}"
        return problem(check, message, OTHER_FILE_SYSTEM_FIX)
    except OSError as error:
        message = f"no links in {folder.parent} ({error.strerror})"
        return problem(check, message, OTHER_FILE_SYSTEM_FIX)
    finally:
        _delete_files(source, target)


def check_atomic_rename(folder: Path) -> Diagnostic:
    """Check that a reader sees the old or the new content while `rename(2)` replaces a file."""
    check = "atomic rename"
    target = _make_unique_path(folder)
    contents = [bytes([65 + i]) * 4096 for i in range(2)]
    done, read_errors = threading.Event(), []

    def read_repeatedly() -> None:
        while not done.is_set():
            try:
                if target.read_bytes() not in contents:
                    read_errors.append("half of it")
            except OSError as error:
                read_errors.append(str(error.strerror))

    reader = threading.Thread(target=read_repeatedly)
    try:
        target.write_bytes(contents[0])
        reader.start()
        for i in range(NUM_REPETITIONS):
            new_file = _make_unique_path(folder)
            new_file.write_bytes(contents[i % 2])
            os.replace(new_file, target)
    except OSError as error:
        message = f"no rename in {folder.parent} ({error.strerror})"
        return problem(check, message, OTHER_FILE_SYSTEM_FIX)
    finally:
        done.set()
        if reader.ident is not None:
            reader.join()
        _delete_files(*folder.iterdir())
    if read_errors:
        message = f"a reader saw {read_errors[0]} while a file was replaced"
        return problem(check, message, OTHER_FILE_SYSTEM_FIX)
    return ok(check, f"{NUM_REPETITIONS} replacements, the reader always found the file")


def check_fsync(folder: Path) -> Diagnostic:
    """Check that `fsync(2)` works on a file and on its folder."""
    check = "fsync"
    target = _make_unique_path(folder)
    try:
        with target.open("wb") as stream:
            stream.write(b"content")
            stream.flush()
            os.fsync(stream.fileno())
        folder_descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(folder_descriptor)
        finally:
            os.close(folder_descriptor)
    except OSError as error:
        message = f"no fsync in {folder.parent} ({error.strerror})"
        return problem(check, message, OTHER_FILE_SYSTEM_FIX)
    finally:
        _delete_files(target)
    return ok(check, "works for files and folders")


def check_append(folder: Path) -> Diagnostic:
    """Check that no line is lost if two writers append (O_APPEND) to one file."""
    check = "append"
    target = _make_unique_path(folder)
    try:
        with (
            target.open("ab", buffering=0) as first_writer,
            target.open("ab", buffering=0) as second_writer,
        ):
            for _ in range(NUM_REPETITIONS):
                first_writer.write(b"one\n")
                second_writer.write(b"two\n")
        lines = target.read_bytes().splitlines()
    except OSError as error:
        message = f"no appending in {folder.parent} ({error.strerror})"
        return problem(check, message, OTHER_FILE_SYSTEM_FIX)
    finally:
        _delete_files(target)
    if sorted(lines) != [b"one"] * NUM_REPETITIONS + [b"two"] * NUM_REPETITIONS:
        num_lost = 2 * NUM_REPETITIONS - len(lines)
        message = f"{num_lost} of {2 * NUM_REPETITIONS} lines of two writers were lost"
        return problem(check, message, OTHER_FILE_SYSTEM_FIX)
    return ok(check, f"all {2 * NUM_REPETITIONS} lines of two writers were kept")


def check_free_space(
    folder: Path, needed_bytes: int | None, min_free_bytes: int, purpose: str
) -> Diagnostic:
    """Compare the free bytes with what is needed.

    Args:
        folder: a folder of the file system.
        needed_bytes: bytes that are needed; None: not measured.
        min_free_bytes: bytes that must be free if the need was not measured.
        purpose: what the bytes are needed for.
    """
    check = "disk space"
    free_bytes = _get_free_bytes(folder)
    free_text = f"{_format_bytes(free_bytes)} free"
    if needed_bytes is None:
        if free_bytes < MIN_RUN_BYTES:
            message = f"{free_text} at {folder}, less than any run needs"
            return problem(check, message, FREE_SPACE_FIX)
        if free_bytes < min_free_bytes:
            message = f"{free_text} at {folder}; the need was not measured"
            return warning(check, message, "plan --probe measures it")
        return ok(check, f"need not measured, {free_text}")
    needed_text = f"{_format_bytes(needed_bytes)} needed ({purpose})"
    if needed_bytes > free_bytes:
        fix = f"fewer seeds, or {FREE_SPACE_FIX}"
        return problem(check, f"{needed_text}, {free_text} at {folder}", fix)
    return ok(check, f"{needed_text}, {free_text}")


def check_inodes(folder: Path, num_runs: int) -> Diagnostic:
    """Compare the files that can still be created with those of a number of runs."""
    check = "inodes"
    stats = os.statvfs(folder)
    if not stats.f_files:
        return ok(check, "this file system sets no limit")
    needed_files = num_runs * FILES_PER_RUN
    if needed_files > stats.f_favail:
        message = f"{num_runs} runs need {needed_files:,} files, {stats.f_favail:,} are available"
        return problem(check, message, f"delete files, or {OTHER_FILE_SYSTEM_FIX}")
    return ok(check, f"{stats.f_favail:,} available, {needed_files:,} needed")


def _get_free_bytes(folder: Path) -> int:
    stats = os.statvfs(folder)
    return stats.f_bavail * stats.f_frsize


def _format_bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _make_unique_path(folder: Path) -> Path:
    return folder / uuid.uuid4().hex


def _delete_files(*paths: Path) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES):
                raise
