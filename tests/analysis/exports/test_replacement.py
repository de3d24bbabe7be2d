"""Exported folders are replaced, also by two exports at once."""

from __future__ import annotations

import errno
import shutil
import socket
from pathlib import Path

import pytest

from analysis.exports import replacement
from analysis.exports.replacement import LOCK_NAME, open_work_folder, replace_folder


def write_folder(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "file").write_text(text)
    return path


def test_a_folder_takes_the_place_of_older_ones(tmp_path: Path) -> None:
    old, other = (write_folder(tmp_path / name, name) for name in ("old", "other"))
    replace_folder(old, write_folder(tmp_path / "new", "new"), [old, other, tmp_path / "none"])
    assert [p.name for p in tmp_path.iterdir()] == ["old"]
    assert (old / "file").read_text() == "new"


def test_the_folder_of_a_faster_export_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It appears between the look and the renaming."""
    path, new = tmp_path / "model", write_folder(tmp_path / "new", "slow")
    rename = replacement.os.replace

    def be_slower(source: Path, target: Path) -> None:
        write_folder(path, "fast")
        rename(source, target)

    monkeypatch.setattr(replacement.os, "replace", be_slower)
    replace_folder(path, new, [])
    assert (path / "file").read_text() == "fast"


def test_two_exports_may_delete_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write_folder(tmp_path / "old", "old")
    delete = shutil.rmtree

    def delete_twice(path: Path) -> None:
        delete(path)
        delete(path)

    monkeypatch.setattr(replacement.shutil, "rmtree", delete_twice)
    replace_folder(tmp_path / "place", write_folder(tmp_path / "new", "new"), [old])
    assert (tmp_path / "place" / "file").read_text() == "new"


def test_other_errors_are_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_folder(tmp_path / "place", tmp_path / "none", [])


def test_what_killed_exports_left_is_deleted(tmp_path: Path) -> None:
    """Not what an export of this or of another host writes, nor the folders of others."""
    write_folder(tmp_path / ".partial-other", "of another program")
    killed = write_folder(tmp_path / ".partial-killed", "model")
    (killed / LOCK_NAME).write_text(socket.gethostname())
    remote = write_folder(tmp_path / ".partial-remote", "model")
    (remote / LOCK_NAME).write_text("another-host")
    with open_work_folder(tmp_path) as first:
        (first / "model").write_text("model")
        with open_work_folder(tmp_path) as second:
            present = {path.name for path in tmp_path.iterdir()}
            assert present == {".partial-other", ".partial-remote", first.name, second.name}
            assert (first / "model").read_text() == "model"
    assert {path.name for path in tmp_path.iterdir()} == {".partial-other", ".partial-remote"}


def test_without_locks_nothing_of_others_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(replacement.fcntl, "flock", refuse)
    with open_work_folder(tmp_path) as first, open_work_folder(tmp_path) as second:
        assert {path.name for path in tmp_path.iterdir()} == {first.name, second.name}
    assert list(tmp_path.iterdir()) == []
