"""Data sets with one folder for each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.helpers import dataset_trees
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.images import ImageDataset


def rows_of(pictures: ImageDataset) -> list[tuple[str, int]]:
    assert pictures.labels is not None
    return list(zip(pictures.ids, pictures.labels.tolist()))


def test_caltech101_has_its_background_and_thirty_training_images_a_class(tmp_path: Path) -> None:
    truth = dataset_trees.caltech101(tmp_path)
    dataset = datasets.get("caltech101")
    parts = {part: dataset.open(tmp_path, part) for part in dataset.splits}
    assert parts["test"].classes == truth.classes
    assert {p: np.bincount(parts[p].labels).tolist() for p in parts} == {  # type: ignore[arg-type]
        "train": [27] * 3,
        "test": [3] * 3,
        "validation": [3] * 3,
    }
    assert sorted(row for p in parts.values() for row in rows_of(p)) == sorted(truth.rows["all"])
    assert dataset.metric == "mean_per_class"


def test_splits_of_caltech101_are_disjoint_and_stable(tmp_path: Path) -> None:
    dataset_trees.caltech101(tmp_path)
    dataset = datasets.get("caltech101")
    before = {part: set(dataset.open(tmp_path, part).ids) for part in dataset.splits}
    assert sum(map(len, before.values())) == len(set.union(*before.values()))
    (tmp_path / "caltech101/101_ObjectCategories/Faces/image_0001.jpg").unlink()
    after = {part: set(dataset.open(tmp_path, part).ids) for part in dataset.splits}
    assert sum(len(before[p] ^ after[p]) for p in before) <= 5  # at most one moves into each gap


def test_eurosat_has_splits_by_the_hash_of_names(tmp_path: Path) -> None:
    truth = dataset_trees.eurosat(tmp_path)
    found = datasets.get("eurosat")
    parts = {part: found.open(tmp_path, part) for part in found.splits}
    counts = {p: np.bincount(parts[p].labels).tolist() for p in parts}  # type: ignore[arg-type]
    assert counts == {"train": [5] * 3, "test": [3] * 3, "validation": [1] * 3}
    assert sorted(r for p in parts.values() for r in rows_of(p)) == sorted(truth.rows["all"])
    assert parts["test"].classes == ("AnnualCrop", "Forest", "SeaLake")  # not "forest" first
