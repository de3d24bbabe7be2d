"""Images of shards that are small: left out by `data.min_side`, and said by a plan."""

from __future__ import annotations

import json

import pytest

from tests.helpers.shards import encode_image, make_sample, shards_config, write_tar
from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.config.binding import to_builtins
from uniclip.data.webdataset import image_sizes, notes, scan, source
from uniclip.data.webdataset.index import open_index
from uniclip.errors import UserError
from uniclip.evaluate.benchmarks.webdataset import build_benchmark

MODEL = tiny().model


@pytest.fixture
def folder(tmp_path):
    """100 pairs of 20 x 16 pixels by their json, then 30 without one: a third of 40 x 8."""
    members = [item for n in range(100) for item in make_sample(n).items()]
    for n in range(30):
        size = (40, 8) if n % 3 == 0 else (20, 16)
        members += [(f"x{n}.png", encode_image(500 + n, size)), (f"x{n}.txt", b"a caption")]
    write_tar(tmp_path / "s" / "0.tar", members)
    return tmp_path / "s"


def test_smaller_images_are_left_out_and_counted(folder):
    whole = open_index(shards_config(folder))
    config = shards_config(folder, min_side=9, max_broken=0)
    index = open_index(config)
    assert index.folder != whole.folder
    assert (len(whole), len(index)) == (130, 120)
    assert index.summary.counts == {scan.TOO_SMALL: 10}
    assert index.summary.num_broken == 0, "they are not broken"
    assert set(index.lengths.tolist()) < set(whole.lengths.tolist())
    assert "data.min_side=9 leaves 10 samples out" in notes.describe_index(config, index)
    assert not list(notes._describe_skipped(index))
    split = data.open_split(config, "train")
    assert min(min(split.load_photograph(i).pixels.shape[:2]) for i in range(len(split))) == 16
    assert len(open_index(shards_config(folder, min_side=8))) == 130
    with pytest.raises(UserError, match="min_side leaves none of 130 samples of .*; lower it"):
        open_index(shards_config(folder, min_side=17))


def test_the_json_is_believed_where_it_states_the_size(tmp_path):
    members = [
        item
        for n in range(30)
        for item in make_sample(n, width=500, height=(400, None, "x", 3)[n % 4]).items()
    ]
    write_tar(tmp_path / "s" / "0.tar", members)
    index = open_index(shards_config(tmp_path / "s", min_side=17, validation_fraction=0.5))
    assert (len(index), index.summary.counts) == (8, {scan.TOO_SMALL: 22})


def test_the_side_is_part_of_run_and_protocol_only_if_it_is_set(folder):
    configs = [shards_config(folder), shards_config(folder, min_side=9)]
    assert ["min_side" in build_benchmark(c).build_protocol() for c in configs] == [False, True]
    assert data.fingerprint(configs[0]) == data.fingerprint(configs[1])
    contents = [data.identify_content(c) for c in configs]
    assert contents[0].keys() != contents[1].keys()
    assert json.dumps(to_builtins(configs[0])) != json.dumps(to_builtins(configs[1]))


def test_a_plan_says_that_images_are_smaller_than_the_input(folder, monkeypatch):
    config = shards_config(folder)
    index = open_index(config)
    monkeypatch.setattr(image_sizes, "NUM_HEADERS", 1000)
    assert image_sizes.describe_small_images(index, 8) == []
    (sentence,) = image_sizes.describe_small_images(index, 9)
    assert sentence.startswith("10 are smaller than the 9 px of model.image.image_size")
    assert "(median of the shorter side: 16 px)" in sentence
    assert sentence.replace("9 px", "x px") in [
        s.replace(f"{MODEL.image.image_size} px", "x px").replace("130 are", "10 are")
        for s in source.describe_content(config, MODEL)
    ]
    monkeypatch.setattr(image_sizes, "NUM_HEADERS", 13)
    (sentence,) = image_sizes.describe_small_images(index, 17)
    assert sentence.startswith("of 13 images looked at, 13 are smaller than the 17 px")
