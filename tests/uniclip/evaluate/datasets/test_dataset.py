"""Descriptions of data sets: what is missing, fingerprints, errors of readers."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import dataset_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import bench14, dataset

SETS = [d.name for d in (*bench14.CLASSIFICATION_DATASETS, *bench14.RETRIEVAL_DATASETS)]


@pytest.mark.parametrize("name", ["sun397", "imagenet", "caltech101"])
def test_the_order_does_not_depend_on_the_file_system(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_trees.WRITERS[name](tmp_path)
    dataset = datasets.get(name)
    before, stamp = dataset.open(tmp_path, "test").ids, dataset.fingerprint(tmp_path)
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda p: listdir(p)[::-1])
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(list(iterdir(self))[::-1]))
    walk = os.walk

    def backwards(top: Path, **how: bool) -> Iterator[tuple[str, list[str], list[str]]]:
        for place, folders, names in walk(top, **how):
            yield place, folders, names[::-1]

    monkeypatch.setattr(os, "walk", backwards)
    assert dataset.open(tmp_path, "test").ids == before
    assert dataset.fingerprint(tmp_path) == stamp


@pytest.mark.parametrize("name", SETS)
def test_what_is_missing_is_named_with_how_to_get_it(name: str, tmp_path: Path) -> None:
    dataset = datasets.get(name)
    reason = dataset.describe_missing(tmp_path)
    assert reason is not None
    assert reason.startswith(f"there is no {tmp_path}")
    assert reason.endswith(dataset.download_hint)
    with pytest.raises(UserError, match=f"{name} is missing: there is no"):
        dataset.open(tmp_path, "test")
    dataset_trees.WRITERS[name](tmp_path)
    assert dataset.describe_missing(tmp_path) is None


def test_a_missing_split_does_not_hide_another(tmp_path: Path) -> None:
    dataset_trees.imagenet(tmp_path)
    (tmp_path / "imagenet/train").rename(tmp_path / "elsewhere")
    dataset = datasets.get("imagenet")
    assert dataset.describe_missing(tmp_path, ("test",)) is None
    assert "imagenet/train" in str(dataset.describe_missing(tmp_path, ("validation",)))
    assert len(dataset.open(tmp_path, "test")) == 9


@pytest.mark.parametrize("name", SETS)
def test_every_split_is_opened_or_refused(name: str, tmp_path: Path) -> None:
    dataset_trees.WRITERS[name](tmp_path)
    dataset = datasets.get(name)
    with pytest.raises(UserError, match=f"unknown split of {name} 'val'"):
        dataset.open(tmp_path, "val")  # type: ignore[arg-type]
    ids = [(part, i) for part in dataset.splits for i in dataset.open(tmp_path, part).ids]
    assert len(set(ids)) == len(ids)
    assert set(dataset.splits) == set(dataset_trees.SPLITS)


@pytest.mark.parametrize("name", SETS)
def test_the_fingerprint_depends_on_the_content_only(name: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for root in (one, two):
        dataset_trees.WRITERS[name](root)
    dataset = datasets.get(name)
    stamp = dataset.fingerprint(one)
    assert stamp == dataset.fingerprint(two)  # wherever it lies
    assert stamp["dataset"] == name
    assert str(one) not in str(stamp)
    first = dataset.files["test"][0].split("|")[0]
    index = two / first
    if index.is_file():
        index.write_bytes(index.read_bytes()[:-1] + b"?")
    else:
        picture = next(p for p in sorted(index.rglob("*")) if p.is_file() and p.stat().st_size)
        picture.write_bytes(picture.read_bytes() + b"?")
    assert stamp != dataset.fingerprint(two)


def test_images_of_another_size_change_the_fingerprint(tmp_path: Path) -> None:
    dataset_trees.dtd(tmp_path)
    dataset = datasets.get("dtd")
    stamp = dataset.fingerprint(tmp_path)
    for path in (tmp_path / "dtd/dtd/images").rglob("*.jpg"):
        dataset_trees.draw(path, 0, side=60)
    assert stamp != dataset.fingerprint(tmp_path)


@pytest.mark.parametrize(
    ("name", "path", "said"),
    [
        ("food101", "food-101/meta/test.json", "index files of its test split"),
        ("stanford_cars", "stanford_cars/cars_test_annos_withlabels.mat", "its test split"),
        ("sun397", "SUN397/Testing_01.txt", "is of no class in ClassName.txt"),
        ("dtd", "dtd/dtd/labels/test1.txt", "its test split"),
        ("oxford_pets", "oxford-iiit-pet/annotations/test.txt", "its test split"),
        ("flowers102", "flowers-102/setid.mat", "its test split"),
        ("voc2007", "VOCdevkit/VOC2007/ImageSets/Main/cat_test.txt", "its test split"),
        ("flickr30k", "flickr30k/flickr30k_test_karpathy.txt", "line 2: expected"),
        ("coco", "coco/coco_test_karpathy.json", "its test split"),
    ],
)
def test_a_damaged_index_is_one_error_line(name: str, path: str, said: str, tmp_path: Path) -> None:
    dataset_trees.WRITERS[name](tmp_path)
    (tmp_path / path).write_text("/x/y/z.jpg\n/x/y/z.jpg\n")
    with pytest.raises(UserError, match=said) as caught:
        datasets.get(name).open(tmp_path, "test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "module", "package"), [("digits", "sklearn", "scikit-learn"), ("pcam", "h5py", "h5py")]
)
def test_a_missing_package_is_named(
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
