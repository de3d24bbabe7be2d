"""Digests of files are kept while nothing can have changed the file, and no longer."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from uniclip.io import file_digests, hashing
from uniclip.io.file_digests import MIN_AGE_SECONDS, digest_files, name_memo, read_signature


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Return the names of the files that are read from now on, in a new cache folder."""
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    names: list[str] = []

    def digest_file(path: Path) -> str:
        names.append(path.name)
        return hashing.digest_file(path)

    monkeypatch.setattr(file_digests, "digest_file", digest_file)
    monkeypatch.setattr(file_digests, "_digests", {})
    return names


def write_settled(path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file, and let the clock be past the time in which it may change unseen."""
    path.write_bytes(content)
    now = time.time() + MIN_AGE_SECONDS + 1
    monkeypatch.setattr(file_digests.time, "time", lambda: now)


def test_a_digest_is_kept_between_processes(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    write_settled(path, b"one", monkeypatch)
    memo_name = name_memo(path)
    first = digest_files([path], memo_name)
    assert first == [hashing.digest_file(path)]
    monkeypatch.setattr(file_digests, "_digests", {})  # as another process
    assert digest_files([path], memo_name) == first
    assert reads == ["a.png"]


@pytest.mark.parametrize("way", ["rewritten", "renamed", "times kept", "appended", "linked"])
def test_a_file_of_equal_size_and_time_is_read_again_after_it_changed(
    way: str, tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "a.png", tmp_path / "b.png"
    other.write_bytes(b"two")
    write_settled(path, b"one", monkeypatch)
    before, times = digest_files([path], "memo"), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    os.utime(other, ns=times)
    if way == "rewritten":
        path.write_bytes(b"two")
    elif way == "renamed":
        other.rename(path)
    elif way == "times kept":
        shutil.copy2(other, path)
    elif way == "appended":
        with open(path, "ab") as stream:
            stream.write(b"!")
    else:
        path.unlink()
        path.symlink_to(other)
    assert digest_files([path], "memo") == [hashing.digest_file(path)] != before
    assert len(reads) == 2


def test_a_file_that_was_changed_just_now_is_read_each_time(
    tmp_path: Path, reads: list[str]
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    assert digest_files([path], "memo") == digest_files([path], "memo")
    assert reads == ["a.png", "a.png"]


def test_a_touched_file_keeps_its_digest_and_a_damaged_memo_is_written_anew(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    write_settled(path, b"one", monkeypatch)
    first = digest_files([path], "memo")
    os.utime(path)
    assert digest_files([path], "memo") == first
    for content in ("{", "[]", '{"x": 3}', "null"):
        (tmp_path / "cache/digests/memo.json").write_text(content)
        assert digest_files([path], "memo") == first


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digest_files([tmp_path / "none"])
    with pytest.raises(FileNotFoundError):
        read_signature(tmp_path / "none")


def test_many_bytes_are_read_by_threads_with_the_same_digests_and_an_error_keeps_the_others(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{i}.bin" for i in range(5)]
    for i, path in enumerate(paths):
        write_settled(path, bytes([i]) * 1000, monkeypatch)
    expected = [hashing.digest_file(path) for path in paths]
    monkeypatch.setattr(file_digests, "MIN_PARALLEL_BYTES", 0)
    monkeypatch.setattr(file_digests.os, "cpu_count", lambda: 4)
    working = file_digests.digest_file

    def fail_at_the_last(path: Path) -> str:
        if path == paths[-1]:
            raise OSError("broken")
        return working(path)

    monkeypatch.setattr(file_digests, "digest_file", fail_at_the_last)
    with pytest.raises(OSError, match="broken"):
        digest_files(paths, "memo")
    monkeypatch.setattr(file_digests, "digest_file", working)
    monkeypatch.setattr(file_digests, "_digests", {})  # as another process
    reads.clear()
    assert digest_files([*paths, paths[0]], "memo") == [*expected, expected[0]]
    assert reads == ["4.bin"]
