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

from sweeps.doctor.finding import Finding, ok, problem, warning

ELSEWHERE = "choose a store= on another file system"
ROUNDS = 200
FILES_A_RUN = 40
"""Files and folders that a run leaves, and one that is at work; a generous count."""


def examine(folder: Path) -> list[Finding]:
    """Try each operation in `folder`, which is there and is ours; it is as empty afterwards."""
    return [check(folder) for check in (exclusive_link, whole_rename, durable, appending)]


def exclusive_link(folder: Path) -> Finding:
    """`link(2)`: the first gets the name, the second is refused."""
    check = "files are published once"
    source, target = _fresh(folder), _fresh(folder)
    try:
        source.write_bytes(b"")
        os.link(source, target)
        try:
            os.link(source, target)
        except FileExistsError:
            return ok(check, f"link refuses the second, in {folder.parent}")
        return problem(check, f"link lets two take one name in {folder.parent}", ELSEWHERE)
    except OSError as error:
        return problem(check, f"no links in {folder.parent} ({error.strerror})", ELSEWHERE)
    finally:
        _forget(source, target)


def whole_rename(folder: Path) -> Finding:
    """`rename(2)` over a file: who reads meanwhile sees the old or the new, whole."""
    check = "files are replaced whole"
    target = _fresh(folder)
    contents = [bytes([65 + i]) * 4096 for i in range(2)]
    done, torn = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            try:
                if target.read_bytes() not in contents:
                    torn.append("half of it")
            except OSError as error:
                torn.append(str(error.strerror))

    reader = threading.Thread(target=read)
    try:
        target.write_bytes(contents[0])
        reader.start()
        for i in range(ROUNDS):
            other = _fresh(folder)
            other.write_bytes(contents[i % 2])
            os.replace(other, target)
    except OSError as error:
        return problem(check, f"no rename in {folder.parent} ({error.strerror})", ELSEWHERE)
    finally:
        done.set()
        if reader.ident is not None:
            reader.join()
        _forget(*folder.iterdir())
    if torn:
        return problem(check, f"a reader saw {torn[0]} while a file was replaced", ELSEWHERE)
    return ok(check, f"{ROUNDS} times under a reader's eyes")


def durable(folder: Path) -> Finding:
    """`fsync(2)` of a file, and of the folder that names it."""
    check = "files are kept"
    target = _fresh(folder)
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
        return problem(check, f"no fsync in {folder.parent} ({error.strerror})", ELSEWHERE)
    finally:
        _forget(target)
    return ok(check, "fsync of files and folders")


def appending(folder: Path) -> Finding:
    """O_APPEND: lines of two writers all stand there."""
    check = "lines are appended"
    target = _fresh(folder)
    try:
        with target.open("ab", buffering=0) as one, target.open("ab", buffering=0) as two:
            for _ in range(ROUNDS):
                one.write(b"one\n")
                two.write(b"two\n")
        found = target.read_bytes().splitlines()
    except OSError as error:
        return problem(check, f"no appending in {folder.parent} ({error.strerror})", ELSEWHERE)
    finally:
        _forget(target)
    if sorted(found) != [b"one"] * ROUNDS + [b"two"] * ROUNDS:
        lost = 2 * ROUNDS - len(found)
        return problem(check, f"{lost} of {2 * ROUNDS} lines of two writers were lost", ELSEWHERE)
    return ok(check, f"{2 * ROUNDS} lines of two writers")


def room(folder: Path, needed: int | None, spare: int, what: str) -> Finding:
    """Free bytes against what is needed; `needed` None: unknown, then `spare` should be there."""
    check = "room on the disk"
    free = _free(folder)
    if needed is not None and needed > free:
        said = f"{_spoken(needed)} needed ({what}), {_spoken(free)} free at {folder}"
        return problem(check, said, f"make room (sweep.py gc), fewer seeds, or {ELSEWHERE}")
    if needed is None and free < spare:
        said = f"{_spoken(free)} free at {folder}; what is needed was not measured"
        return warning(check, said, "plan --probe measures it")
    said = f"{_spoken(needed)} needed ({what})" if needed is not None else "need not measured"
    return ok(check, f"{said}, {_spoken(free)} free")


def inodes(folder: Path, runs: int) -> Finding:
    """Files that may still be made here against those that a sweep makes."""
    check = "number of files"
    state = os.statvfs(folder)
    if not state.f_files:
        return ok(check, "this file system sets no limit")
    needed = runs * FILES_A_RUN
    if needed > state.f_favail:
        said = f"{runs} runs leave {needed:,} files, {state.f_favail:,} more may be made"
        return problem(check, said, f"delete files, or {ELSEWHERE}")
    return ok(check, f"{state.f_favail:,} more may be made, {needed:,} needed")


def _free(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize


def _spoken(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _fresh(folder: Path) -> Path:
    return folder / uuid.uuid4().hex


def _forget(*paths: Path) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES):
                raise
