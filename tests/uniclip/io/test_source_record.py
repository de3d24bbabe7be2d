"""An index is outdated once one of the files that it was made of has changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from uniclip.io.source_record import RECORD_FILE, is_outdated, write_sources


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Two files, recorded in the folder `index` beside theirs."""
    paths = [tmp_path / "data" / name for name in ("a", "b")]
    (tmp_path / "data").mkdir()
    (tmp_path / "index").mkdir()
    for path in paths:
        path.write_bytes(b"content")
    status = [path.stat() for path in paths]
    files = [(str(path), s.st_size, s.st_mtime_ns) for path, s in zip(paths, status)]
    write_sources(tmp_path / "index", 3, iter(files))
    return paths


def test_files_that_change_or_are_removed_make_it_outdated(sources: list[Path]) -> None:
    index = sources[0].parent.parent / "index"
    assert not is_outdated(index, 3)
    assert is_outdated(index, 4)
    status = sources[1].stat()
    os.utime(sources[1], ns=(1, 1))
    assert is_outdated(index, 3)
    os.utime(sources[1], ns=(1, status.st_mtime_ns))
    assert not is_outdated(index, 3)
    with open(sources[1], "ab") as stream:
        stream.write(b"more")
    assert is_outdated(index, 3)
    sources[1].unlink()
    assert is_outdated(index, 3)


def test_data_that_are_not_mounted_may_come_back(sources: list[Path]) -> None:
    shutil.rmtree(sources[0].parent)
    assert not is_outdated(sources[0].parent.parent / "index", 3)


@pytest.mark.parametrize("record", ["", "[]", '{"version": 3}', '{"version": 3, "files": [1]}'])
def test_what_is_not_known_is_not_outdated(tmp_path: Path, record: str) -> None:
    assert not is_outdated(tmp_path, 3)
    (tmp_path / RECORD_FILE).write_text(record)
    assert not is_outdated(tmp_path, 3)
