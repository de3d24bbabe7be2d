"""Data sets whose publishers list the images of each split."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import dataset_trees
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.images import ImageDataset


def rows_of(pictures: ImageDataset) -> list[tuple[str, int]]:
    assert pictures.labels is not None
    return list(zip(pictures.ids, pictures.labels.tolist()))


def test_classes_are_bound_to_their_key_where_a_split_lacks_one(tmp_path: Path) -> None:
    """torchvision numbers the classes of DTD and of the Pets by what the part at hand holds."""
    dataset_trees.dtd(tmp_path)
    dataset_trees.oxford_pets(tmp_path)
    for path, gone in (
        ("dtd/dtd/labels/test1.txt", "banded"),
        ("oxford-iiit-pet/annotations/test.txt", "Abyssinian"),
    ):
        lines = (tmp_path / path).read_text().splitlines()
        dataset_trees.text(tmp_path / path, [line for line in lines if not line.startswith(gone)])
    for name in ("dtd", "oxford_pets"):
        pictures = datasets.get(name).open(tmp_path, "test")
        assert len(pictures.classes) == 3
        assert pictures.labels is not None
        assert set(pictures.labels) == {1, 2}
        for i, label in enumerate(pictures.labels):
            assert pictures.classes[label] in pictures.ids[i]


@pytest.mark.parametrize(("name", "arguments"), [
    ("OxfordIIITPet", {"split": "test"}),
    ("SUN397", {}),
])  # fmt: skip
def test_torchvision_reads_the_same_trees(name: str, arguments: dict, tmp_path: Path) -> None:
    """So the trees are valid, and the readers that are ours agree with the ones that are not."""
    import torchvision.datasets

    ours = {"OxfordIIITPet": "oxford_pets", "SUN397": "sun397"}[name]
    dataset_trees.WRITERS[ours](tmp_path)
    reference = getattr(torchvision.datasets, name)(tmp_path, **arguments)
    pictures = datasets.get(ours).open(tmp_path, "test")
    key = {"OxfordIIITPet": "_images", "SUN397": "_image_files"}[name]
    label_by_stem = {
        Path(p).stem: label for p, label in zip(getattr(reference, key), reference._labels)
    }
    assert rows_of(pictures)
    for i, label in rows_of(pictures):
        assert label_by_stem[Path(i).stem] == label
    assert len(reference) == (9 if name == "OxfordIIITPet" else 21)  # all parts at once
