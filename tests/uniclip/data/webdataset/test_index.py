"""The index: built once, by several processes or one, and built anew when shards change."""

from __future__ import annotations

import os
import tarfile

import numpy as np
import pytest
import webdataset

from tests.helpers.shards import make_sample, shards_config, write_shards, write_tar
from uniclip.data.webdataset import index as index_module
from uniclip.data.webdataset.assignment import check_broken
from uniclip.data.webdataset.index import find_index, open_index
from uniclip.errors import UserError


def test_an_independent_reader_sees_the_same_samples(shards):
    index = open_index(shards_config(shards))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    assert len(samples) == len(index) == 120
    found = index.find_shards(np.arange(len(index)))
    for row, sample in enumerate(samples):
        assert index.get_caption(row) == sample["txt"].decode()
        with open(index.shards[found[row]].path, "rb") as stream:
            stream.seek(int(index.blocks[row]) * 512)
            assert stream.read(int(index.lengths[row])) == sample["png"]
    assert list(index.iterate_captions(0, 120)) == [s["txt"].decode() for s in samples]
    assert list(index.iterate_captions(28, 65)) == [s["txt"].decode() for s in samples[28:65]]


def test_it_is_built_once_and_takes_20_bytes_a_sample_beside_captions(shards, monkeypatch):
    config = shards_config(shards)
    assert find_index(config) is None
    progress = []
    index = open_index(config, lambda done, total: progress.append((done, total)))
    assert progress == [(n, 4) for n in (1, 2, 3, 4)]
    monkeypatch.setattr(index_module, "scan_shards", pytest.fail)
    assert open_index(config) is index
    found = find_index(config)
    assert found is not None
    names = set(index_module.ARRAYS) - {"captions", "caption_ends"}
    assert sum(np.load(index.folder / f"{name}.npy").itemsize for name in names) == 20


def test_shards_that_are_added_grow_or_change_get_another_index(tmp_path):
    write_shards(tmp_path, 20, 2)
    config = shards_config(tmp_path)
    first = open_index(config)
    write_tar(tmp_path / "00002.tar", make_sample(77))
    added = open_index(config)
    assert len(added) == 21
    with tarfile.open(tmp_path / "00002.tar", "a") as archive:
        write_tar(tmp_path / "more.x", make_sample(78))
        with tarfile.open(tmp_path / "more.x") as more:
            for member in more:
                archive.addfile(member, more.extractfile(member))
    assert len(open_index(config)) == 22
    os.utime(tmp_path / "00000.tar", ns=(5, 5))
    assert find_index(config) is None, "the content may have changed"
    assert first.folder != open_index(config).folder


def test_names_that_repeat_are_counted(tmp_path):
    write_tar(tmp_path / "0.tar", {**make_sample(1), **make_sample(2)})
    write_tar(tmp_path / "1.tar", make_sample(1))
    index = open_index(shards_config(tmp_path))
    assert (len(index), index.summary.num_repeated) == (3, 1)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("similarty > 0.3", "reads similarty, which no sample has; the fields of a sample are"),
        ("width > 1000", "leaves none of 2 samples"),
        ("caption > 1", "compares values of caption that cannot be compared .* in all samples"),
    ],
)
def test_a_condition_that_no_sample_fulfils_is_an_error_with_and_without_an_index(
    tmp_path, cache_folder, where, message
):
    write_tar(tmp_path / "0.tar", {**make_sample(1), **make_sample(2)})
    config = shards_config(tmp_path, where=where)
    for _ in range(2):
        with pytest.raises(UserError, match=message):
            open_index(config)
        assert not list(cache_folder.glob("shards/*-where-*/"))
    assert find_index(config) is None


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("index.json", lambda path: path.write_bytes(b"")),
        ("index.json", lambda path: path.write_bytes(b"{}")),
        ("ids.npy", lambda path: path.unlink()),
        ("captions.npy", lambda path: path.write_bytes(b"")),
        ("blocks.npy", lambda path: os.truncate(path, path.stat().st_size - 4)),
        ("lengths.npy", lambda path: path.write_bytes(path.read_bytes() + b"1234")),
    ],
)
def test_a_damaged_index_is_built_again(shards, file, damage):
    config = shards_config(shards)
    folder = open_index(config).folder
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    damage(folder / file)
    assert find_index(config) is None
    assert open_index(config).folder == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_a_cut_shard_counts_as_the_samples_that_it_lost(tmp_path):
    write_shards(tmp_path, 100, 4)
    path = tmp_path / "00002.tar"
    index = open_index(shards_config(tmp_path))
    start = int(index.blocks[55]) * 512 - 512  # of the sixth of its 25 samples
    os.truncate(path, start)
    config = shards_config(tmp_path, max_broken=0.1)
    cut = open_index(config)
    assert (len(cut), cut.summary.counts) == (80, {index_module.LOST: 20})
    with pytest.raises(UserError, match=r"20 of 100 samples .* without the closing block of zeros"):
        check_broken(config, cut)
    check_broken(shards_config(tmp_path, max_broken=0.2), cut)


def test_shards_without_samples_are_an_error(tmp_path):
    write_tar(tmp_path / "0.tar", {"a.json": b"{}"})
    with pytest.raises(UserError, match=r"has no sample that can be used \(.*: a: no image\)"):
        open_index(shards_config(tmp_path))
