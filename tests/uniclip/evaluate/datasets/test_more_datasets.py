"""The sets besides the fourteen, read from their own formats."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import dataset_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import dataset
from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.datasets.readers import binary

COLOURED = ["country211", "rendered_sst2", "gtsrb", "pcam", "stl10"]
GREY = ["mnist", "fashion_mnist", "fer2013"]


def rows_of(pictures: ImageDataset) -> list[tuple[str, int]]:
    assert pictures.labels is not None
    return list(zip(pictures.ids, pictures.labels.tolist()))


@pytest.mark.parametrize("name", COLOURED + GREY)
def test_a_set_is_read_as_published(name: str, tmp_path: Path) -> None:
    truth = dataset_trees.FURTHER[name](tmp_path)
    found = datasets.get(name)
    assert found.describe_missing(tmp_path) is None
    read = {part: found.open(tmp_path, part) for part in found.splits}
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
        if part == "train" and found.held_out:
            both += rows_of(read["validation"])
        assert sorted(both) == sorted(rows)
        assert found.count_and_list_images(tmp_path, part)[0] == len(rows)


def test_columns_come_first_in_stl10(tmp_path: Path) -> None:
    dataset_trees.stl10(tmp_path)
    picture = datasets.get("stl10").open(tmp_path, "test").load_image(0)
    assert picture.getpixel((10, 80)) == (0, 0, 0)  # the left is black, not the top
    assert picture.getpixel((80, 10)) == dataset_trees.colour(1)


def test_eurosat_has_parts_by_the_hash_of_names(tmp_path: Path) -> None:
    truth = dataset_trees.eurosat(tmp_path)
    found = datasets.get("eurosat")
    parts = {part: found.open(tmp_path, part) for part in found.splits}
    counts = {p: np.bincount(parts[p].labels).tolist() for p in parts}  # type: ignore[arg-type]
    assert counts == {"train": [5] * 3, "test": [3] * 3, "validation": [1] * 3}
    assert sorted(r for p in parts.values() for r in rows_of(p)) == sorted(truth.rows["all"])
    assert parts["test"].classes == ("AnnualCrop", "Forest", "SeaLake")  # not "forest" first


def test_both_files_of_fer2013_are_one_set(tmp_path: Path) -> None:
    dataset_trees.fer2013(tmp_path / "one")
    dataset_trees.fer2013(tmp_path / "two", icml=True)
    one, two = (datasets.get("fer2013").open(tmp_path / r, "test") for r in ("one", "two"))
    assert rows_of(one) == rows_of(two) == [("0", 4), ("1", 6)]
    assert [one.classes[label] for label in (4, 6)] == ["sad", "neutral"]
    path = tmp_path / "one/fer2013/fer2013.csv"
    path.write_text(path.read_text().replace(" 100,PrivateTest", ",PrivateTest"))  # a pixel short
    with pytest.raises(UserError, match="index files of its test split"):
        datasets.get("fer2013").open(tmp_path / "one", "test")


def test_idx_files_that_are_cut_are_refused(tmp_path: Path) -> None:
    dataset_trees.mnist(tmp_path)
    path = tmp_path / "MNIST/raw/t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"holds 2351 bytes where its header says \[3, 28, 28\]"):
        datasets.get("mnist").open(tmp_path, "test")
    path.write_bytes(b"PNG")
    with pytest.raises(UserError, match="is not an idx file of bytes"):
        binary.read_idx(path)
    dataset_trees.idx(path, np.zeros((4, 28, 28)), packed=False)
    with pytest.raises(UserError, match="4 test images and 3 labels do not match"):
        datasets.get("mnist").open(tmp_path, "test")


def test_debians_fashion_mnist_is_found() -> None:
    found = datasets.get("fashion_mnist")
    for wanted in found.files["test"]:
        assert wanted.split("|")[-1].startswith("/usr/share/datasets/fashion-mnist/t10k-")
    if Path("/usr/share/datasets/fashion-mnist").is_dir():
        assert len(found.open("nowhere", "test")) == 10_000


def test_digits_come_with_scikit_learn_only() -> None:
    found = datasets.get("digits")
    parts = {part: found.open("nowhere", part) for part in found.splits}
    assert {p: len(parts[p]) for p in parts} == {"train": 1076, "validation": 125, "test": 596}
    assert found.count_and_list_images("nowhere", "train")[0] == found.expected_counts["train"]
    from sklearn.datasets import load_digits

    theirs = load_digits()
    for i, row in list(enumerate(map(int, parts["test"].ids)))[::50]:
        mine = np.asarray(parts["test"].load_image(i))[..., 0]
        assert np.array_equal(np.round(mine / 255 * 16), theirs.images[row])
        assert parts["test"].labels[i] == theirs.target[row]  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "module", "package"), [("digits", "sklearn", "scikit-learn"), ("pcam", "h5py", "h5py")]
)
def test_a_package_that_is_needed_is_named(
    name: str, module: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wanted in (w for part in datasets.get(name).files.values() for w in part):
        (tmp_path / wanted).parent.mkdir(exist_ok=True)
        (tmp_path / wanted).touch()
    find: Callable[..., Any] = importlib.util.find_spec
    monkeypatch.setattr(dataset, "find_spec", lambda n: None if n == module else find(n))
    assert datasets.get(name).describe_missing(tmp_path) == (
        f"reading it needs another package: pip install {package}"
    )


@pytest.mark.parametrize("ours", ["mnist", "country211", "rendered_sst2", "gtsrb", "pcam"])
def test_torchvision_reads_the_same_trees(ours: str, tmp_path: Path) -> None:
    import torchvision.datasets

    dataset_trees.FURTHER[ours](tmp_path)
    called = datasets.get(ours).torchvision
    assert called is not None
    arguments = {"train": False} if ours == "mnist" else {"split": "test"}
    theirs = getattr(torchvision.datasets, called[0])(str(tmp_path), **arguments)
    mine = datasets.get(ours).open(tmp_path, "test")
    assert len(theirs) == len(mine)
    for i, (picture, label) in enumerate(theirs):
        assert label == mine.labels[i]  # type: ignore[index]
        assert np.array_equal(np.asarray(picture.convert("RGB")), np.asarray(mine.load_image(i)))
