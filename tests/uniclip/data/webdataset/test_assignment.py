"""Which samples are in which split: by a hash, whatever is added."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.shards import make_sample, shards_config, write_shards, write_tar
from uniclip import data
from uniclip.data.webdataset.assignment import (
    assign_rows,
    describe_counts,
    map_training_rows,
)
from uniclip.data.webdataset.index import open_index


def test_held_out_samples_have_a_largest_number(shards):
    config = shards_config(shards, validation_fraction=0.3, max_held_out=16)
    rows, all_rows = (
        assign_rows(c, open_index(c))
        for c in (config, shards_config(shards, validation_fraction=0.3))
    )
    assert len(rows["validation"]) == 16 < len(all_rows["validation"])
    assert set(rows["validation"]) < set(all_rows["validation"])
    assert np.array_equal(rows["train"], all_rows["train"]), "none of the others is trained on"


def test_an_added_shard_moves_no_sample_to_another_split(tmp_path):
    write_shards(tmp_path, 60, 2)
    before = {n: data.open_split(shards_config(tmp_path), n) for n in data.SPLIT_NAMES}
    write_tar(tmp_path / "00002.tar", {**make_sample(900), **make_sample(901)})
    for name, split in before.items():
        after = data.open_split(shards_config(tmp_path), name)
        assert set(split.ids.tolist()) <= set(after.ids.tolist())


@pytest.mark.parametrize("file", ["rows.npy", "ids.npy"])
def test_training_samples_are_mapped_and_written_again_if_they_are_damaged(shards, file):
    config = shards_config(shards)
    index = open_index(config)
    expected = assign_rows(config, index)["train"]
    for damage in (lambda path: None, lambda path: os.truncate(path, 130), Path.unlink):
        rows, ids = map_training_rows(config, index)
        assert isinstance(rows.base, np.memmap)
        assert isinstance(ids.base, np.memmap)
        assert np.array_equal(rows, expected)
        assert np.array_equal(ids, index.ids[expected])
        (path,) = index.folder.parent.glob(f"*-train-*/{file}")
        damage(path)
    other = shards_config(shards, validation_fraction=0.3)
    assert len(map_training_rows(other, index)[0]) < len(expected)


def test_counts_are_listed_by_frequency():
    assert describe_counts({"b": 1, "a": 1, "c": 5}) == "c: 5, a: 1, b: 1"
