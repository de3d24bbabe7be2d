"""PASCAL VOC 2007, from its lists and from its annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import dataset_trees
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.readers import voc2007


def test_difficult_objects_are_marked(tmp_path: Path) -> None:
    truth = dataset_trees.voc2007(tmp_path)
    dataset = datasets.get("voc2007")
    pictures = dataset.open(tmp_path, "test")
    dog, person, train = (pictures.classes.index(c) for c in ("dog", "person", "train"))
    assert pictures.classes == truth.classes
    assert pictures.ids == ("000200", "000201", "000202", "000203")
    assert pictures.labels is not None
    assert pictures.difficult is not None
    assert pictures.labels.shape == (4, 20)
    assert pictures.labels[:, dog].tolist() == [1, 1, 0, 0]
    assert pictures.difficult[:, dog].tolist() == [False, True, False, False]
    assert pictures.labels[:, person].tolist() == [1, 0, 0, 1]
    assert pictures.difficult[:, person].tolist() == [False] * 4  # one of the two is easy
    assert pictures.labels[:, train].tolist() == [0, 0, 1, 0]
    assert pictures.labels.sum() == 6
    assert pictures.difficult.sum() == 2
    said = np.array([values for _, values in truth.rows["test"]])
    objects = voc2007.read_annotations(tmp_path / "VOCdevkit/VOC2007/Annotations", pictures.ids)
    assert np.array_equal(objects, said)
    (tmp_path / "VOCdevkit/VOC2007/ImageSets/Main/dog_test.txt").unlink()
    again = dataset.open(tmp_path, "test")  # now from the annotations
    assert np.array_equal(again.labels, pictures.labels)
    assert np.array_equal(again.difficult, pictures.difficult)


def test_objects_are_cut_out(tmp_path: Path) -> None:
    """Difficult objects, too, and each with the box as CLIP_benchmark cuts it."""
    truth = dataset_trees.voc2007(tmp_path)
    objects = datasets.get("voc2007_boxes").open(tmp_path, "test")
    assert objects.classes == truth.classes
    assert objects.ids[:4] == ("000200/0", "000200/1", "000200/2", "000201/0")
    assert objects.labels is not None
    labels = [objects.classes[label] for label in objects.labels]
    assert labels == [
        *("dog", "person", "person", "dog", "train", "train", "diningtable", "person"),
    ]
    assert objects.load_image(0).size == (5, 6)
    assert dataset_trees.label_of(objects.load_image(3), range(4)) == 1


def test_objects_are_those_of_clip_benchmark(tmp_path: Path) -> None:
    theirs = pytest.importorskip("clip_benchmark.datasets.voc2007")
    dataset_trees.voc2007(tmp_path)
    objects = datasets.get("voc2007_boxes").open(tmp_path, "test")
    expected = theirs.PASCALVoc2007Cropped(str(tmp_path), "test")
    assert objects.labels is not None
    assert objects.labels.tolist() == [label for _, _, label in expected.bndboxes]
    assert list(objects.classes) == expected.classes
    for i in range(len(expected)):
        assert np.array_equal(objects.load_image(i), expected[i][0])
