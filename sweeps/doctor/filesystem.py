"""Is this folder one in which files are published once, replaced whole, and kept?

The store rests on four things that most file systems give and some network mounts do not: `link`
fails for the second who comes, `rename` replaces without a moment of nothing, `fsync` is obeyed,
and what several append to one file all stands there.
"""

from __future__ import annotations

import errno
import os
import threading
import uuid
from pathlib import Path

from sweeps.doctor.finding import Diagnostic, ok, problem, warning

OTHER_FILE_SYSTEM_FIX = "choose a store= on another file system"
NUM_REPETITIONS = 200
FILES_PER_RUN = 40
"""Files and folders that a run leaves, and one that is at work; a generous count."""


def check_file_system(folder: Path) -> list[Diagnostic]:
    """Try each operation in `folder`, which is there and is ours; it is as empty afterwards."""
    return [
        check(folder)
        for check in (check_exclusive_link, check_atomic_rename, check_fsync, check_append)
    ]


def check_exclusive_link(folder: Path) -> Diagnostic:
    """`link(2)`: the first gets the name, the second is refused."""
    check = "files are published once"
    source, target = _make_unique_path(folder), _make_unique_path(folder)
    try:
        source.write_bytes(b"")
        os.link(source, target)
        try:
            os.link(source, target)
        except FileExistsError:
            return ok(check, f"link refuses the second, in {folder.parent}")
        return problem(
            check, f"link lets two take one name in {folder.parent}", OTHER_FILE_SYSTEM_FIX
        )
    except OSError as error:
        return problem(
            check, f"no links in {folder.parent} ({error.strerror})", OTHER_FILE_SYSTEM_FIX
        )
    finally:
        _delete_files(source, target)


def check_atomic_rename(folder: Path) -> Diagnostic:
    """`rename(2)` over a file: who reads meanwhile sees the old or the new, whole."""
    check = "files are replaced whole"
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
        return problem(
            check, f"no rename in {folder.parent} ({error.strerror})", OTHER_FILE_SYSTEM_FIX
        )
    finally:
        done.set()
        if reader.ident is not None:
            reader.join()
        _delete_files(*folder.iterdir())
    if read_errors:
        return problem(
            check, f"a reader saw {read_errors[0]} while a file was replaced", OTHER_FILE_SYSTEM_FIX
        )
    return ok(check, f"{NUM_REPETITIONS} times under a reader's eyes")


def check_fsync(folder: Path) -> Diagnostic:
    """`fsync(2)` of a file, and of the folder that names it."""
    check = "files are kept"
    target = _make_unique_path(folder)
    try:
        with target.open("wb") as stream:
            stream.write(b"kept")
            stream.flush()
            os.fsync(stream.fileno())
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        return problem(
            check, f"no fsync in {folder.parent} ({error.strerror})", OTHER_FILE_SYSTEM_FIX
        )
    finally:
        _delete_files(target)
    return ok(check, "fsync of files and folders")


def check_append(folder: Path) -> Diagnostic:
    """O_APPEND: lines of two writers all stand there."""
    check = "lines are appended"
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
        return problem(
            check, f"no appending in {folder.parent} ({error.strerror})", OTHER_FILE_SYSTEM_FIX
        )
    finally:
        _delete_files(target)
    if sorted(lines) != [b"one"] * NUM_REPETITIONS + [b"two"] * NUM_REPETITIONS:
        num_lost = 2 * NUM_REPETITIONS - len(lines)
        return problem(
            check,
            f"{num_lost} of {2 * NUM_REPETITIONS} lines of two writers were lost",
            OTHER_FILE_SYSTEM_FIX,
        )
    return ok(check, f"{2 * NUM_REPETITIONS} lines of two writers")


def check_free_space(
    folder: Path, needed_bytes: int | None, min_free_bytes: int, purpose: str
) -> Diagnostic:
    """Free bytes against what is needed; `needed` None: unknown, then `spare` should be there."""
    check = "room on the disk"
    free_bytes = _get_free_bytes(folder)
    if needed_bytes is not None and needed_bytes > free_bytes:
        message = f"{_format_bytes(needed_bytes)} needed ({purpose}), {_format_bytes(free_bytes)} free at {folder}"
        return problem(
            check, message, f"make room (sweep.py gc), fewer seeds, or {OTHER_FILE_SYSTEM_FIX}"
        )
    if needed_bytes is None and free_bytes < min_free_bytes:
        message = f"{_format_bytes(free_bytes)} free at {folder}; what is needed was not measured"
        return warning(check, message, "plan --probe measures it")
    message = (
        f"{_format_bytes(needed_bytes)} needed ({purpose})"
        if needed_bytes is not None
        else "need not measured"
    )
    return ok(check, f"{message}, {_format_bytes(free_bytes)} free")


def check_inodes(folder: Path, runs: int) -> Diagnostic:
    """Files that may still be made here against those that a sweep makes."""
    check = "number of files"
    stats = os.statvfs(folder)
    if not stats.f_files:
        return ok(check, "this file system sets no limit")
    needed_files = runs * FILES_PER_RUN
    if needed_files > stats.f_favail:
        message = f"{runs} runs leave {needed_files:,} files, {stats.f_favail:,} more may be made"
        return problem(check, message, f"delete files, or {OTHER_FILE_SYSTEM_FIX}")
    return ok(check, f"{stats.f_favail:,} more may be made, {needed_files:,} needed")


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
