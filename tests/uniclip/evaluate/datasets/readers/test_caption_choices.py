"""Images with a correct caption and wrong ones, read from trees in the published formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import composition_trees, dataset_trees
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.readers import caption_choices
from uniclip.evaluate.datasets.readers.caption_choices import ORDERS, shuffle_caption

CAPTION = "a man in red rides a very small horse"


@pytest.mark.parametrize("name", list(composition_trees.COMPOSITION_WRITERS))
def test_a_data_set_is_read_as_published(name: str, tmp_path: Path) -> None:
    rows = composition_trees.COMPOSITION_WRITERS[name](tmp_path)
    dataset = datasets.get(name)
    assert dataset.describe_missing(tmp_path) is None
    images = dataset.open(tmp_path, "test")
    assert images.labels is not None
    categories = [images.classes[label] for label in images.labels]
    assert list(zip(images.ids, images.captions, categories)) == rows
    assert (images.pairs is not None) == (name == "winoground")


def test_images_of_a_pair_have_each_others_caption(tmp_path: Path) -> None:
    composition_trees.winoground(tmp_path)
    images = datasets.get("winoground").open(tmp_path, "test")
    assert images.pairs is not None
    assert images.pairs.tolist() == [0, 0, 1, 1, 2, 2]
    for first in range(0, 6, 2):
        assert images.captions[first] == images.captions[first + 1][::-1]


def test_only_the_box_of_an_image_is_shown(tmp_path: Path) -> None:
    composition_trees.aro_relation(tmp_path)
    images = datasets.get("aro_relation").open(tmp_path, "test")
    for i in range(len(images)):
        pixels = np.asarray(images.load_image(i))
        assert pixels.shape == (12, 10, 3)
        assert (pixels == dataset_trees.colour(i)).all()


@pytest.mark.parametrize("name", ["flickr30k", "coco"])
def test_orders_have_the_words_of_a_caption_and_its_image(name: str, tmp_path: Path) -> None:
    dataset_trees.WRITERS[name](tmp_path)
    original = datasets.get(name).open(tmp_path, "test")
    orders = datasets.get(f"{name}_order").open(tmp_path, "test")
    captions_to_order = [c for captions in original.captions for c in captions]
    assert len(orders) == sum(len(c.split()) > 3 for c in captions_to_order) > 0
    for i, (image_id, captions) in enumerate(zip(orders.ids, orders.captions)):
        name_of_image, number = image_id.rsplit("#", 1)
        row = original.ids.index(name_of_image)
        assert captions[0] == original.captions[row][int(number)]
        assert len(captions) == 1 + len(ORDERS)
        for shuffled in captions[1:]:
            assert shuffled != captions[0]
            assert sorted(shuffled.split()) == sorted(captions[0].split())
        both = [np.asarray(d.load_image(j)) for d, j in ((orders, i), (original, row))]
        assert np.array_equal(*both)


def test_an_order_depends_on_its_key_alone() -> None:
    orders = {(o, k): shuffle_caption(CAPTION, o, k) for o in ORDERS for k in ("a", "b")}
    assert len(set(orders.values())) == 6
    assert orders == {key: shuffle_caption(CAPTION, *key) for key in orders}


def test_orders_of_groups_of_three() -> None:
    groups = [CAPTION.split()[i : i + 3] for i in (0, 3, 6)]
    within = (shuffle_caption(CAPTION, "within_trigrams", "k") or "").split()
    assert [sorted(within[i : i + 3]) for i in (0, 3, 6)] == [sorted(g) for g in groups]
    among = (shuffle_caption(CAPTION, "trigrams", "k") or "").split()
    assert sorted(among[i : i + 3] for i in (0, 3, 6)) == sorted(groups)


@pytest.mark.parametrize("caption", ["dog", "dog dog dog dog"])
def test_a_caption_without_another_order_has_none(caption: str) -> None:
    assert all(shuffle_caption(caption, order, "k") is None for order in ORDERS)


def test_sizes_of_the_categories_are_the_published_ones() -> None:
    assert len(caption_choices.SUGARCREPE_CATEGORIES) == 7
    sizes = {"add": 692 + 2_062, "replace": 788 + 1_652 + 1_406, "swap": 666 + 245}
    assert datasets.get("sugarcrepe").expected_counts["test"] == sum(sizes.values())
