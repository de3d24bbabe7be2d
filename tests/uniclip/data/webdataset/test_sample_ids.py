"""Ids of samples of several sources."""

from __future__ import annotations

import numpy as np

from uniclip.data.webdataset import sample_ids


def test_the_number_of_a_source_is_hashed_into_ids_from_the_second_on(monkeypatch):
    names = np.arange(1000, dtype=np.uint64) << np.uint64(40)
    ids = [sample_ids.add_source(names, source) for source in range(3)]
    assert np.array_equal(ids[0], names)
    assert len(np.unique(np.concatenate(ids))) == 3000
    assert ids[1][:2].tolist() == [
        10066705527457294613,
        5745152097084043044,
    ]  # fixed: they are part of runs
    monkeypatch.setattr(sample_ids, "CHUNK_SIZE", 7)
    assert np.array_equal(sample_ids.add_source(names, 1), ids[1])
    assert len(sample_ids.add_source(names[:0], 1)) == 0
