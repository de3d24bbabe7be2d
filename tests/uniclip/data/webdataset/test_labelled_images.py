"""Labelled images of shards and class folders: their classes, ids and files."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tests.helpers.shards import (
    encode_image,
    shards_config,
    write_class_folders,
    write_labelled_shards,
    write_tar,
)
from uniclip.data.webdataset.labelled_images import find_labelled_images, open_labelled_images


def test_each_image_has_a_class_and_an_id(tmp_path):
    shards = write_labelled_shards(tmp_path / "shards")
    folders = write_class_folders(tmp_path / "folders")
    (tmp_path / "names.txt").write_text("cat\ndog\nbird\n")
    paths = {"labelled_path": f"{shards}::{folders}"}
    names = f"{tmp_path}/names.txt::{tmp_path}/wnids.txt"
    (tmp_path / "wnids.txt").write_text("tree\nriver\n")
    config = shards_config(shards, **paths, class_names_path=names)
    assert find_labelled_images(config) is None
    of_shards, of_folders = open_labelled_images(config)
    assert [len(images) for images in find_labelled_images(config)] == [60, 5]
    assert of_shards.name_classes() == {"0": "cat", "1": "dog", "2": "bird"}
    assert of_folders.name_classes() == {"n01": "tree", "n02": "river"}
    assert Counter(of_shards.iterate_classes()) == {"0": 20, "1": 20, "2": 20}
    assert list(of_folders.iterate_classes()) == ["n01"] * 3 + ["n02"] * 2
    assert of_folders.get_group_starts().tolist() == [0, 3, 5]
    ids = np.concatenate([of_shards.get_ids(), of_folders.get_ids()])
    assert len(np.unique(ids)) == 65
    split = of_folders.open_split(config, of_folders.get_ids())
    assert split.load_photograph(2).pixels.shape == (16, 20, 3)
    assert split.name_image(2) == f"{folders}/n01/more/c.png"


def test_labelled_images_of_the_same_name_in_two_sources_have_other_ids(tmp_path):
    paths = [write_labelled_shards(tmp_path / name) for name in "ab"]
    paths += [write_class_folders(tmp_path / name) for name in "cd"]
    config = shards_config(paths[0], labelled_path="::".join(paths))
    ids = [images.get_ids() for images in open_labelled_images(config)]
    assert len(np.unique(np.concatenate(ids))) == 2 * 60 + 2 * 5
    (alone,) = open_labelled_images(shards_config(paths[0], labelled_path=paths[0]))
    assert np.array_equal(ids[0], alone.get_ids())


def test_samples_without_a_class_are_skipped_and_counted(tmp_path):
    members = [item for n in range(9) for item in make_labelled(n)]
    members += [("9.png", encode_image(9)), ("10.png", encode_image(10)), ("10.cls", b" ")]
    path = str(write_tar(tmp_path / "0.tar", members))
    (images,) = open_labelled_images(shards_config(path, labelled_path=path, max_broken=0.5))
    assert len(images) == 9
    assert images.index.summary.counts == {"no class": 1, "empty class": 1}
    assert images.num_broken == 2
    assert images.name_classes() == {"cat": "cat"}


def make_labelled(number: int) -> list[tuple[str, bytes]]:
    return [(f"{number}.png", encode_image(number)), (f"{number}.cls", b"cat\n")]
