"""Reading from open shards, which must be those that were indexed."""

from __future__ import annotations

import os
import pickle

import pytest

from tests.helpers.shards import make_sample, write_tar
from uniclip.data.webdataset import shard_files
from uniclip.data.webdataset.paths import list_shards
from uniclip.data.webdataset.shard_files import ShardFiles
from uniclip.errors import DataChangedError


@pytest.fixture
def folder(tmp_path):
    """Five shards with one sample each."""
    for n in range(5):
        write_tar(tmp_path / f"{n}.tar", make_sample(n))
    return tmp_path


def test_few_shards_are_open_at_once(folder, monkeypatch):
    monkeypatch.setattr(shard_files, "MAX_OPEN", 2)
    files = ShardFiles(list_shards(str(folder)))
    before = len(os.listdir("/proc/self/fd"))
    for n in (0, 1, 2, 3, 4, 0):
        assert files.read(n, 512, 8) == b"\x89PNG\r\n\x1a\n"
        assert files.read_name(n, 512) == f"{n:09d}.png"
    assert len(os.listdir("/proc/self/fd")) == before + 2
    copy = pickle.loads(pickle.dumps(files))
    assert copy.read(3, 512, 4) == b"\x89PNG"
    del files, copy
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_shard_that_changed_or_is_gone_is_not_read(folder):
    files = ShardFiles(list_shards(str(folder)))
    with open(folder / "1.tar", "ab") as stream:
        stream.write(b"x")
    with pytest.raises(DataChangedError, match="has changed since it was indexed"):
        files.read(1, 512, 8)
    (folder / "2.tar").unlink()
    with pytest.raises(DataChangedError, match="is gone"):
        files.read(2, 512, 8)
    files.read(4, 512, 8)
    with open(folder / "4.tar", "r+b") as stream:
        stream.seek(512)
        stream.write(b"another image of the same size")
    for read in (lambda: files.read(4, 512, 8), lambda: files.read_name(4, 512)):
        with pytest.raises(DataChangedError, match="4.tar has changed since it was indexed"):
            read()
    files.read(3, 512, 8)
    os.truncate(folder / "3.tar", 515)
    with pytest.raises(DataChangedError, match="has been cut off"):
        files.read(3, 512, 8)


def test_files_are_closed_when_the_interpreter_ends(folder, monkeypatch):
    """It sets the names of modules to None before the last objects are deleted."""
    before = len(os.listdir("/proc/self/fd"))
    files = ShardFiles(list_shards(str(folder)))
    files.read(0, 512, 8)
    monkeypatch.setattr(shard_files, "os", None)
    del files
    assert len(os.listdir("/proc/self/fd")) == before
