"""A pass over all shards by several processes."""

from __future__ import annotations

from tests.helpers.shards import shards_config, write_shards
from uniclip.data.webdataset import parallel_scan
from uniclip.data.webdataset.index import open_index


def test_several_processes_build_the_same_index(tmp_path, monkeypatch):
    config = shards_config(write_shards(tmp_path / "shards", 60, 5))
    alone = open_index(config)
    monkeypatch.setattr(parallel_scan, "MIN_BYTES_PER_PROCESS", 1)
    monkeypatch.setattr(parallel_scan, "count_process_cores", lambda: 3)
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    done: list[tuple[int, int]] = []
    together = open_index(config, lambda *counts: done.append(counts))
    assert done == [(number, 5) for number in range(1, 6)]
    assert together.folder != alone.folder
    for file in alone.folder.iterdir():
        assert file.read_bytes() == (together.folder / file.name).read_bytes()
