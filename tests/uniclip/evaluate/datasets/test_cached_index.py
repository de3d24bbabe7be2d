"""The index of a split is read from the cache when the data set is gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import composition_trees, dataset_trees
from uniclip.errors import DataChangedError, UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets import fingerprint_cache
from uniclip.evaluate.datasets.cached_index import open_with_cached_index


@pytest.mark.parametrize("name", ["cifar10", "voc2007", "flickr30k"])
def test_labels_and_captions_need_no_files(name: str, tmp_path: Path) -> None:
    dataset_trees.WRITERS[name](tmp_path / "sets")
    dataset, cache = datasets.get(name), Cache(tmp_path / "cache")
    fingerprint = dataset.fingerprint(tmp_path / "sets", ("test",))
    first = open_with_cached_index(dataset, tmp_path / "sets", "test", fingerprint, cache)
    image = np.asarray(first.load_image(0))
    (tmp_path / "sets").rename(tmp_path / "elsewhere")
    again = open_with_cached_index(dataset, tmp_path / "sets", "test", fingerprint, cache)
    for field in ("name", "split", "kind", "ids", "classes", "captions"):
        assert getattr(again, field) == getattr(first, field)
    for field in ("labels", "difficult"):
        assert np.array_equal(getattr(again, field), getattr(first, field))
    with pytest.raises(UserError, match=f"{name} is missing"):
        again.load_image(0)
    (tmp_path / "elsewhere").rename(tmp_path / "sets")
    assert np.array_equal(np.asarray(again.load_image(0)), image)


def test_without_a_cache_the_data_set_is_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cifar10 is missing"):
        open_with_cached_index(datasets.get("cifar10"), tmp_path, "test", {}, Cache())


def test_an_index_that_was_read_from_changed_data_is_not_kept(tmp_path: Path) -> None:
    dataset_trees.draw(tmp_path / "0.png", 0)
    table = tmp_path / "mine.csv"
    dataset_trees.text(table, ["picture,caption", "0.png,zero"])
    dataset, cache = datasets.get(f"csv:{table}"), Cache(tmp_path / "cache")
    planned = dataset.fingerprint("", ("test",))
    dataset_trees.text(table, ["picture,caption", "0.png,another"])
    with fingerprint_cache(), pytest.raises(DataChangedError, match="changed while it was read"):
        open_with_cached_index(dataset, "", "test", planned, cache)
    dataset_trees.text(table, ["picture,caption", "0.png,zero"])
    opened = open_with_cached_index(dataset, "", "test", planned, cache)
    assert opened.captions == (("zero",),)


def test_pairs_of_images_are_cached(tmp_path: Path) -> None:
    composition_trees.winoground(tmp_path / "sets")
    dataset = datasets.get("winoground")
    fingerprint = dataset.fingerprint(tmp_path / "sets", ("test",))
    cache = Cache(tmp_path / "cache", "")
    read = [
        open_with_cached_index(dataset, tmp_path / "sets", "test", fingerprint, cache)
        for _ in range(2)
    ]
    for images in read:
        assert images.pairs is not None
        assert images.pairs.tolist() == [0, 0, 1, 1, 2, 2]
        assert images.captions == dataset.open(tmp_path / "sets", "test").captions
