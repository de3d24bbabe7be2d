"""SUN397: the first official partition, and all images."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import dataset_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets


def test_all_images_contain_both_splits(tmp_path: Path) -> None:
    dataset_trees.sun397(tmp_path)
    dataset = datasets.get("sun397")
    all_images = dataset.with_all_as_test().open(tmp_path, "test")
    assert all_images.labels is not None
    label_by_id = dict(zip(all_images.ids, all_images.labels))
    assert list(all_images.ids) == sorted(label_by_id)
    assert all_images.split == "test"
    for split in dataset.splits:
        images = dataset.open(tmp_path, split)
        assert images.classes == all_images.classes
        assert images.labels is not None
        assert [label_by_id[i] for i in images.ids] == images.labels.tolist()


def test_a_line_of_an_unknown_class_is_named(tmp_path: Path) -> None:
    dataset_trees.sun397(tmp_path)
    (tmp_path / "SUN397/Testing_01.txt").write_text("/z/submarine/sun_a.jpg\n")
    with pytest.raises(
        UserError, match=r"/z/submarine/sun_a\.jpg is of no class in ClassName\.txt"
    ):
        datasets.get("sun397").open(tmp_path, "test")
