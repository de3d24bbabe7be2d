"""The splits of shards: the same samples as a CSV, held-out ones that can be read, sources."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.shards import (
    encode_image,
    make_sample,
    shards_config,
    unpack_to_csv,
    write_shards,
    write_tar,
)
from tests.helpers.unusual_images import READABLE, UNREADABLE
from uniclip import data
from uniclip.config import CsvData
from uniclip.data.webdataset.assignment import assign_rows
from uniclip.data.webdataset.index import open_index
from uniclip.errors import UserError


def write_with(folder: Path, members: dict[str, bytes], num_good: int = 100) -> str:
    """Write a shard of good samples and these images."""
    items = [item for n in range(num_good) for item in make_sample(n).items()]
    for name, content in members.items():
        items += [(name, content), (f"{name.partition('.')[0]}.txt", name.encode())]
    return str(write_tar(folder / "0.tar", items))


def test_samples_are_those_of_the_same_images_in_a_csv(shards, tmp_path):
    csv_path = unpack_to_csv(tmp_path, sorted(Path(shards).parent.glob("*.tar")))
    table = CsvData(path=str(csv_path), image_size=16, validation_fraction=0.1, test_fraction=0.1)
    for name in data.SPLIT_NAMES:
        split, expected = data.open_split(shards_config(shards), name), data.open_split(table, name)
        index = np.arange(len(expected))
        assert np.array_equal(split.ids, expected.ids)
        assert tuple(split.captions) == expected.captions
        assert np.array_equal(split.load_pixels(index), expected.load_pixels(index))
        assert [n.rpartition("/")[2] for n in split.sample_names] == list(expected.sample_names)
        copy = pickle.loads(pickle.dumps(split))
        assert np.array_equal(copy.load_pixels(index[:2]), expected.load_pixels(index[:2]))


@pytest.mark.parametrize("name", READABLE)
def test_unusual_images_are_read(tmp_path, name):
    path = write_with(tmp_path, {name: READABLE[name]()})
    split = data.open_split(shards_config(path, test_fraction=0), "train")
    row = [i for i, (text,) in enumerate(split.captions) if text == name]
    if not row:  # held out
        split = data.open_split(shards_config(path, test_fraction=0), "validation")
        row = [i for i, (text,) in enumerate(split.captions) if text == name]
    pixels, is_readable = split.load_readable_pixels(np.array(row))
    assert is_readable.all()
    (photograph,), _ = split.load_view_sources(np.array(row))
    if name == "rotated.jpg":
        assert photograph.pixels.shape == (40, 30, 3)
    assert split.compute_files_digest() == ""


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_images_are_named_in_training_and_left_out_when_held_out(tmp_path, name):
    path = write_with(tmp_path, {f"{i}{name}": UNREADABLE[name]() for i in range(12)}, 60)
    config = shards_config(path, validation_fraction=0.4, test_fraction=0, max_broken=0.5)
    rows = assign_rows(config, open_index(config))
    train, held_out = (data.open_split(config, part) for part in ("train", "validation"))
    broken = [i for i, (text,) in enumerate(train.captions) if name in text]
    assert len(rows["validation"]) - len(held_out) == 12 - len(broken) > 0
    assert not any(name in text for (text,) in held_out.captions)
    assert held_out.load_pixels(np.arange(len(held_out))).shape[0] == len(held_out)
    _, is_readable = train.load_view_sources(np.arange(len(train)))
    assert np.flatnonzero(~is_readable).tolist() == broken
    description = train.describe_unreadable(broken[0])
    assert description.startswith(f"{path}: ")
    assert f"{name} cannot be read (" in description
    with pytest.raises(UserError, match="leave their shards out"):
        train.load_pixels(np.array(broken))
    strict = shards_config(path, validation_fraction=0.4, test_fraction=0, max_broken=0.001)
    with pytest.raises(UserError, match=r"of \d+ validation images of .* cannot be read") as caught:
        data.open_split(strict, "validation")
    assert re.search(
        rf": {re.escape(path)}: \d+{re.escape(name)} cannot be read \(", str(caught.value)
    )


def test_samples_that_the_index_skips_count_as_broken(tmp_path):
    items = [i for n in range(50) for i in make_sample(n).items()]
    items += [("x.png", encode_image(1)), ("y.txt", b"no image")]
    path = write_tar(tmp_path / "0.tar", items)
    split = data.open_split(shards_config(path, max_broken=0.06), "train")
    assert (split.num_skipped, split.num_allowed) == (2, 3)
    split.check_unreadable([0])
    with pytest.raises(UserError, match="4 of 52 samples cannot be used, more than"):
        split.check_unreadable([0, 1])
    with pytest.raises(UserError) as caught:
        data.open_split(shards_config(path), "train")
    assert "2 of 52 samples" in str(caught.value)
    assert "no caption: 1, no image: 1" in str(caught.value)


def test_weights_are_the_shares_of_sources(tmp_path):
    one, two = write_shards(tmp_path / "a", 40, 2), write_shards(tmp_path / "b", 60, 3)
    split = data.open_split(shards_config(f"{one}::{two}", weights=(3.0, 1.0)), "train")
    first, second = split.source_shares
    assert (first.share, second.share) == (0.75, 0.25)
    assert (first.start, first.stop, second.stop) == (0, second.start, len(split))
    names = list(split.sample_names)
    assert all(n.startswith("source 1: ") for n in names[: first.stop])
    assert all(n.startswith("source 2: ") for n in names[first.stop :])
    assert data.open_split(shards_config(f"{one}::{two}"), "train").source_shares == ()
    with pytest.raises(UserError, match="has 1 numbers, and data.path 2 sources"):
        shards_config(f"{one}::{two}", weights=(1.0,))


def test_samples_of_the_same_name_in_two_sources_are_two_samples(tmp_path):
    one, two = write_shards(tmp_path / "a", 60, 1), write_shards(tmp_path / "b", 80, 1)
    splits = {n: data.open_split(shards_config(f"{one}::{two}"), n) for n in data.SPLIT_NAMES}
    alone = {n: data.open_split(shards_config(one), n) for n in data.SPLIT_NAMES}
    ids = [i for split in splits.values() for i in split.ids.tolist()]
    assert len(set(ids)) == len(ids) == 140
    for name, split in splits.items():
        num_first = len(alone[name])
        assert np.array_equal(split.ids[:num_first], alone[name].ids)
        names = list(split.sample_names)
        assert len(set(names)) == len(names)
        assert names[0] == f"source 1: {alone[name].sample_names[0]}"
        first = {n.removeprefix("source 1: ") for n in names[:num_first]}
        assert {n.removeprefix("source 2: ") for n in names[num_first:]} >= first, "of one split"
    assert open_index(shards_config(f"{one}::{two}")).summary.num_repeated == 0
