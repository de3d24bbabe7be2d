"""Flickr30k and MS-COCO, in both formats of Karpathy's lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import dataset_trees
from uniclip.evaluate import datasets


@pytest.mark.parametrize("name", ["flickr30k", "coco"])
def test_captions_keep_their_text_and_order(name: str, tmp_path: Path) -> None:
    """Captions with commas, quotes and ".jpg," in them; duplicates; another number of them each."""
    truth = dataset_trees.WRITERS[name](tmp_path)
    for part in dataset_trees.SPLITS:
        pictures = datasets.get(name).open(tmp_path, part)
        assert list(zip(pictures.ids, pictures.captions)) == truth.rows[part]
        assert [
            dataset_trees.label_of(pictures.load_image(i), range(3)) for i in range(len(pictures))
        ] == list(range(len(pictures)))
    assert [len(c) for c in pictures.captions] == [3, 3, 1]
    own = dataset_trees.karpathy(tmp_path, name)
    for part in dataset_trees.SPLITS:
        pictures = datasets.get(name).open(tmp_path, part)
        assert list(zip(pictures.ids, pictures.captions)) == own[part]
    assert pictures.load_image(1).mode == "RGB"
