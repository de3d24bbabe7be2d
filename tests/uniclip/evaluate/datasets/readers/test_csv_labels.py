"""Data sets with a CSV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import dataset_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.images import ImageDataset


def rows_of(pictures: ImageDataset) -> list[tuple[str, int]]:
    assert pictures.labels is not None
    return list(zip(pictures.ids, pictures.labels.tolist()))


def test_both_files_of_fer2013_give_the_same_split(tmp_path: Path) -> None:
    dataset_trees.fer2013(tmp_path / "one")
    dataset_trees.fer2013(tmp_path / "two", icml=True)
    one, two = (datasets.get("fer2013").open(tmp_path / r, "test") for r in ("one", "two"))
    assert rows_of(one) == rows_of(two) == [("0", 4), ("1", 6)]
    assert [one.classes[label] for label in (4, 6)] == ["sad", "neutral"]
    path = tmp_path / "one/fer2013/fer2013.csv"
    path.write_text(path.read_text().replace(" 100,PrivateTest", ",PrivateTest"))  # a pixel short
    with pytest.raises(UserError, match="index files of its test split"):
        datasets.get("fer2013").open(tmp_path / "one", "test")


def test_digits_are_those_of_scikit_learn() -> None:
    dataset = datasets.get("digits")
    parts = {part: dataset.open("nowhere", part) for part in dataset.splits}
    assert {p: len(parts[p]) for p in parts} == {"train": 1076, "validation": 125, "test": 596}
    assert dataset.count_and_list_images("nowhere", "train")[0] == dataset.expected_counts["train"]
    from sklearn.datasets import load_digits

    reference = load_digits()
    for i, row in list(enumerate(map(int, parts["test"].ids)))[::50]:
        pixels = np.asarray(parts["test"].load_image(i))[..., 0]
        assert np.array_equal(np.round(pixels / 255 * 16), reference.images[row])
        assert parts["test"].labels[i] == reference.target[row]  # type: ignore[index]
