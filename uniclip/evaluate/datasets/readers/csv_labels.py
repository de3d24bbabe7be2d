"""Sets with a CSV: GTSRB's test labels, FER2013's and scikit-learn's pixels."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from uniclip.data.split import SplitName
from uniclip.errors import UserError
from uniclip.evaluate.datasets import holdout
from uniclip.evaluate.datasets.dataset import Dataset, locate
from uniclip.evaluate.datasets.images import ArrayReader, ImageDataset, build_classification_dataset

GTSRB_CLASSES = tuple(f"{i:05d}" for i in range(43))
"""GTSRB's folders; its test labels are their numbers."""
FER2013_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""FER2013's labels 0 to 6, by the challenge's page (clip-benchmark's list is in another order)."""
FER2013_USAGE = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
FER2013_IMAGE_SIZE = 48


def gtsrb(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """German traffic signs (Stallkamp et al. 2011)."""
    folder = root / "gtsrb/GTSRB"
    if split == "train":
        paths = sorted((folder / "Training").rglob("*.ppm"))
        files = [
            (path.relative_to(folder).as_posix(), path, GTSRB_CLASSES.index(path.parent.name))
            for path in paths
        ]
        return build_classification_dataset(dataset, split, files, GTSRB_CLASSES)
    with open(root / "gtsrb/GT-final_test.csv", newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream, delimiter=";", skipinitialspace=True))
    files = [
        (row["Filename"], folder / "Final_Test/Images" / row["Filename"], int(row["ClassId"]))
        for row in rows
    ]
    return build_classification_dataset(dataset, split, files, GTSRB_CLASSES)


def fer2013(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """Facial expressions (Goodfellow et al. 2013), 48 x 48, grey.

    The private test is the test and the public one validation; torchvision puts them together, and
    refuses by checksum.
    """
    pixels, labels = [], []
    for row in _read_fer2013_rows(root, dataset):
        if row["Usage"] == FER2013_USAGE[split]:
            pixels.append(np.fromstring(row["pixels"], np.uint8, sep=" "))
            labels.append(int(row["emotion"]))
    images = np.array(pixels).reshape(len(labels), FER2013_IMAGE_SIZE, FER2013_IMAGE_SIZE)
    return _build_from_pixels(dataset, split, images, np.array(labels, np.int64), FER2013_CLASSES)


def digits(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """scikit-learn's copy of the UCI digits, 8 x 8 and 17 greys, read from its own file.

    It has no parts: a third of each class is for the test, by a hash of the row's number.
    """
    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / "datasets/data/digits.csv.gz"
    with gzip.open(path, "rt") as stream:
        rows = np.loadtxt(stream, delimiter=",")
    pixels = np.round(rows[:, :-1] * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
    all_images = _build_from_pixels(
        dataset, split, pixels, rows[:, -1].astype(np.int64), tuple("0123456789")
    )
    class_rank, class_size = holdout.rank_within_class(all_images)
    is_test = class_rank < class_size // 3
    return all_images.subset(np.flatnonzero(is_test if split == "test" else ~is_test), split)


def _read_fer2013_rows(root: Path, dataset: Dataset) -> Iterator[dict[str, str]]:
    """Both published files: one has a blank before the names of its columns."""
    path = locate(root, dataset.files["test"][0])
    with open(path, newline="", encoding="ascii") as stream:
        for row in csv.DictReader(stream):
            yield {name.strip(): value for name, value in row.items()}


def _build_from_pixels(
    dataset: Dataset,
    split: SplitName,
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    classes: tuple[str, ...],
) -> ImageDataset:
    if not len(labels) or not 0 <= labels.min() <= labels.max() < len(classes):
        raise UserError(f"{dataset.name} has no usable {split} rows; {dataset.download_hint}")
    return ImageDataset(
        name=dataset.name,
        split=split,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(str(i) for i in range(len(labels))),
        reader=ArrayReader(pixels),
        labels=labels,
        classes=classes,
    )
