"""Data sets besides the fourteen, read from their formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import dataset_trees
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.images import ImageDataset

COLOURED = ["country211", "rendered_sst2", "gtsrb", "pcam", "stl10"]
GREY = ["mnist", "fashion_mnist", "fer2013"]


def rows_of(pictures: ImageDataset) -> list[tuple[str, int]]:
    assert pictures.labels is not None
    return list(zip(pictures.ids, pictures.labels.tolist()))


@pytest.mark.parametrize("name", COLOURED + GREY)
def test_a_data_set_is_read_as_published(name: str, tmp_path: Path) -> None:
    truth = dataset_trees.MORE_WRITERS[name](tmp_path)
    dataset_description = datasets.get(name)
    assert dataset_description.describe_missing(tmp_path) is None
    read = {part: dataset_description.open(tmp_path, part) for part in dataset_description.splits}
    for pictures in read.values():
        assert pictures.classes == truth.classes
        assert pictures.labels is not None
        for i, label in enumerate(pictures.labels):
            picture = pictures.load_image(i)
            assert picture.mode == "RGB"
            if name in GREY:
                assert picture.getpixel((5, 5)) == (dataset_trees.grey(label),) * 3
            else:
                assert dataset_trees.label_of(picture, set(pictures.labels)) == label
    for part, rows in truth.rows.items():
        both = rows_of(read[part])
        if part == "train" and dataset_description.held_out:
            both += rows_of(read["validation"])
        assert sorted(both) == sorted(rows)
        assert dataset_description.count_and_list_images(tmp_path, part)[0] == len(rows)


@pytest.mark.parametrize("ours", ["mnist", "country211", "rendered_sst2", "gtsrb", "pcam"])
def test_torchvision_reads_the_same_trees(ours: str, tmp_path: Path) -> None:
    import torchvision.datasets

    dataset_trees.MORE_WRITERS[ours](tmp_path)
    called = datasets.get(ours).torchvision
    assert called is not None
    arguments = {"train": False} if ours == "mnist" else {"split": "test"}
    theirs = getattr(torchvision.datasets, called[0])(str(tmp_path), **arguments)
    images = datasets.get(ours).open(tmp_path, "test")
    assert len(theirs) == len(images)
    for i, (picture, label) in enumerate(theirs):
        assert label == images.labels[i]  # type: ignore[index]
        assert np.array_equal(np.asarray(picture.convert("RGB")), np.asarray(images.load_image(i)))
