"""`data.where` selects training samples of an index that all conditions share."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.shards import (
    make_sample,
    shards_config,
    write_labelled_shards,
    write_shards,
    write_tar,
)
from uniclip import data
from uniclip.data.webdataset import index as index_module
from uniclip.data.webdataset import sample_filters, source
from uniclip.data.webdataset.index import find_index, open_index
from uniclip.errors import UserError

WHERE = "caption_words >= 4"


def list_words(split) -> list[int]:
    return [len(captions[0].split()) for captions in split.captions]


@pytest.mark.parametrize("changes", [{}, {"max_held_out": 16, "validation_fraction": 0.4}])
def test_only_training_samples_are_filtered(shards, changes):
    config = shards_config(shards, **changes)
    filtered = replace(config, where=WHERE)
    for name in ("validation", "test"):
        expected, split = data.open_split(config, name), data.open_split(filtered, name)
        assert list(split.sample_names) == list(expected.sample_names)
        assert min(list_words(split)) < 4
    everything, split = data.open_split(config, "train"), data.open_split(filtered, "train")
    is_kept = np.array(list_words(everything)) >= 4
    assert 0 < is_kept.sum() < len(everything)
    assert split.ids.tolist() == everything.ids[is_kept].tolist()
    assert list(split.sample_names) == [n for n, k in zip(everything.sample_names, is_kept) if k]
    (share,) = source.count_training_samples(filtered, 1)
    assert (share.start, share.stop) == (0, len(split))


def test_conditions_share_an_index_and_each_is_applied_once(shards, monkeypatch):
    config = shards_config(shards, where=WHERE)
    index = open_index(config)
    assert open_index(shards_config(shards)) is index, "shards are read once for both"
    other = replace(config, where="caption_words >= 3")
    assert find_index(other) is None
    assert open_index(other) is index
    assert len(data.open_split(other, "train")) > len(data.open_split(config, "train"))
    monkeypatch.setattr(index_module, "scan_shards", pytest.fail)
    for each in (config, other):
        assert open_index(each) is index
        assert find_index(each) is index


@pytest.mark.parametrize("file", ["accepted.npy", "filter.json"])
def test_a_damaged_filter_is_written_again(shards, file):
    config = shards_config(shards, where=WHERE)
    index = open_index(config)
    expected = sample_filters.map_accepted(index.folder, WHERE).copy()
    for damage in (lambda path: os.truncate(path, path.stat().st_size - 1), Path.unlink):
        (path,) = index.folder.parent.glob(f"{index.folder.name}-where-*/{file}")
        damage(path)
        assert find_index(config) is None
        open_index(config)
        assert np.array_equal(sample_filters.map_accepted(index.folder, WHERE), expected)


def test_weighted_sources_are_the_filtered_samples_of_each(tmp_path):
    paths = [write_shards(tmp_path / name, number, 2) for name, number in (("a", 60), ("b", 90))]
    config = shards_config("::".join(paths), weights=(1.0, 3.0), where=WHERE, order="windowed")
    open_index(config)
    split = data.open_split(config, "train")
    assert split.source_shares == tuple(source.count_training_samples(config, 1))
    first, second = split.source_shares
    sources = [split.index.shards[n].source for n in split.index.find_shards(split.rows)]
    assert (first.start, first.stop, second.stop) == (0, sources.index(1), len(split))
    assert split.shard_groups.first_samples[[0, 2, 4]].tolist() == [0, first.stop, len(split)]


def test_labelled_images_follow_the_filtered_pairs(tmp_path, shards):
    labelled = write_labelled_shards(tmp_path / "labelled")
    (tmp_path / "names.txt").write_text("owl\ncat\ndog\n")
    config = shards_config(
        shards, labelled_path=labelled, class_names_path=str(tmp_path / "names.txt")
    )
    everything = data.open_split(config, "train")
    split = data.open_split(replace(config, where=WHERE), "train")
    num_pairs = len(data.open_split(shards_config(shards, where=WHERE), "train"))
    assert len(split) == num_pairs + 60 < len(everything)
    assert (np.asarray(split.training_labels) >= 0).tolist() == [False] * num_pairs + [True] * 60
    assert split.ids[num_pairs:].tolist() == everything.ids[-60:].tolist()


def test_a_condition_that_leaves_no_training_sample_is_an_error(tmp_path):
    write_tar(tmp_path / "0.tar", [i for n in range(40) for i in make_sample(n).items()])
    config = shards_config(tmp_path, validation_fraction=0.3)
    number = data.open_split(config, "test").sample_names[0].split("/")[1][:9]
    with pytest.raises(UserError, match="leaves no training sample of .*; relax it"):
        data.open_split(replace(config, where=f"key == '{number}'"), "train")
