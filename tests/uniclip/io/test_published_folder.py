"""Folders that one process writes and all use, also when processes race, fail or are killed."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from uniclip.errors import UserError
from uniclip.io.published_folder import get_or_publish, is_in_use

FILE = "content"


def is_whole(folder: Path) -> bool:
    return (folder / FILE).is_file()


def write_slowly(folder: Path) -> None:
    """Write a file in two parts, and say so beside the folder."""
    with open(folder.parent / "writers", "a") as stream:
        stream.write(f"{os.getpid()}\n")
    (folder / "first").write_text("1")
    time.sleep(0.3)
    (folder / FILE).write_text("whole")


def test_of_several_processes_one_writes(tmp_path):
    context = get_context("fork")
    processes = [
        context.Process(target=get_or_publish, args=(tmp_path / "x", write_slowly, is_whole))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len((tmp_path / "writers").read_text().split()) == 1
    assert (tmp_path / "x" / FILE).read_text() == "whole"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["writers", "x", "x.lock"]


def test_after_a_kill_the_next_process_writes_and_nothing_is_left(tmp_path):
    process = get_context("fork").Process(
        target=get_or_publish, args=(tmp_path / "x", write_slowly, is_whole)
    )
    process.start()
    while not list(tmp_path.glob(".x.*/first")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    assert not (tmp_path / "x").exists()
    get_or_publish(tmp_path / "x", write_slowly, is_whole)
    assert is_whole(tmp_path / "x")
    assert not list(tmp_path.glob(".x.*"))


def test_a_leftover_is_in_use_while_its_lock_is_held(tmp_path, monkeypatch):
    leftover = tmp_path / ".x.0123"
    assert not is_in_use(leftover), "nobody ever made a lock"
    (tmp_path / "x.lock").write_bytes(b"")
    lock = fcntl.flock

    def lock_as_nfs(stream, operation: int) -> None:
        if not stream.writable():
            raise OSError(errno.EBADF, "Bad file descriptor")
        lock(stream, operation)

    monkeypatch.setattr(fcntl, "flock", lock_as_nfs)
    with open(tmp_path / "x.lock", "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert is_in_use(leftover)
        assert not is_in_use(tmp_path / "x"), "it is complete"
    assert not is_in_use(leftover)


def test_a_folder_that_is_not_whole_is_written_again(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "rest").write_text("damaged")
    get_or_publish(tmp_path / "x", write_slowly, is_whole)
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == [FILE, "first"]


def test_an_error_leaves_nothing_and_says_where(tmp_path):
    def fail(folder: Path) -> None:
        (folder / "first").write_text("1")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match=r"x cannot be written \(No space left on device\)"):
        get_or_publish(tmp_path / "x", fail, is_whole)
    assert [p.name for p in tmp_path.iterdir()] == ["x.lock"]
