"""Thumbnails of an index, in files of equal numbers of samples."""

from __future__ import annotations

import numpy as np

from tests.helpers.shards import shards_config
from uniclip.data.webdataset import thumbnails
from uniclip.data.webdataset.index import open_index


def test_thumbnails_are_read_when_all_are_there(shards, monkeypatch):
    monkeypatch.setattr(thumbnails, "CHUNK_SIZE", 50)
    index = open_index(shards_config(shards))
    assert thumbnails.list_missing_chunks(index) == [0, 1, 2]
    values = np.random.default_rng(0).integers(0, 256, (120, 8, 9), dtype=np.uint8)
    for chunk in (2, 0, 1):
        rows = thumbnails.get_chunk_rows(index, chunk)
        thumbnails.write_chunk(index, chunk, values[rows.start : rows.stop])
    assert thumbnails.list_missing_chunks(index) == []
    rows = np.array([0, 49, 50, 119], np.uint32)
    assert np.array_equal(thumbnails.read_thumbnails(index, rows), values[rows])
