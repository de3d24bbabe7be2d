"""Sets with a CSV: GTSRB's test labels, FER2013's and scikit-learn's pixels."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from uniclip.data.split import Part
from uniclip.errors import UserError
from uniclip.evaluate.datasets import holdout
from uniclip.evaluate.datasets.dataset import Dataset, locate
from uniclip.evaluate.datasets.images import Array, Pictures, classified

SIGNS = tuple(f"{i:05d}" for i in range(43))
"""GTSRB's folders; its test labels are their numbers."""
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""FER2013's labels 0 to 6, by the challenge's page (clip-benchmark's list is in another order)."""
USAGE = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
FER_SIDE = 48


def gtsrb(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """German traffic signs (Stallkamp et al. 2011)."""
    folder = root / "gtsrb/GTSRB"
    if part == "train":
        found = sorted((folder / "Training").rglob("*.ppm"))
        files = [
            (path.relative_to(folder).as_posix(), path, SIGNS.index(path.parent.name))
            for path in found
        ]
        return classified(dataset, part, files, SIGNS)
    with open(root / "gtsrb/GT-final_test.csv", newline="", encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream, delimiter=";", skipinitialspace=True))
    files = [
        (row["Filename"], folder / "Final_Test/Images" / row["Filename"], int(row["ClassId"]))
        for row in rows
    ]
    return classified(dataset, part, files, SIGNS)


def fer2013(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """Facial expressions (Goodfellow et al. 2013), 48 x 48, grey.

    The private test is the test and the public one validation; torchvision puts them together, and
    refuses by checksum.
    """
    pixels, labels = [], []
    for row in _fer_rows(root, dataset):
        if row["Usage"] == USAGE[part]:
            pixels.append(np.fromstring(row["pixels"], np.uint8, sep=" "))
            labels.append(int(row["emotion"]))
    square = np.array(pixels).reshape(len(labels), FER_SIDE, FER_SIDE)
    return _of_pixels(dataset, part, square, np.array(labels, np.int64), EMOTIONS)


def digits(dataset: Dataset, root: Path, part: Part) -> Pictures:
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
    whole = _of_pixels(dataset, part, pixels, rows[:, -1].astype(np.int64), tuple("0123456789"))
    place, size = holdout.ranks(whole)
    tested = place < size // 3
    return whole.take(np.flatnonzero(tested if part == "test" else ~tested), part)


def _fer_rows(root: Path, dataset: Dataset) -> Iterator[dict[str, str]]:
    """Both published files: one has a blank before the names of its columns."""
    path = locate(root, dataset.files["test"][0])
    with open(path, newline="", encoding="ascii") as stream:
        for row in csv.DictReader(stream):
            yield {name.strip(): value for name, value in row.items()}


def _of_pixels(
    dataset: Dataset,
    part: Part,
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    classes: tuple[str, ...],
) -> Pictures:
    if not len(labels) or not 0 <= labels.min() <= labels.max() < len(classes):
        raise UserError(f"{dataset.name} has no usable {part} rows; {dataset.how}")
    return Pictures(
        name=dataset.name,
        part=part,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(str(i) for i in range(len(labels))),
        read=Array(pixels),
        labels=labels,
        classes=classes,
    )
