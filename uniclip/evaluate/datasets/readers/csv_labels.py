"""Data sets with a CSV: test labels of GTSRB, pixels of FER2013 and of scikit-learn's digits."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.errors import UserError
from uniclip.evaluate.datasets import holdout
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader, locate
from uniclip.evaluate.datasets.images import ArrayReader, ImageDataset, build_classification_dataset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from uniclip.data.split import SplitName

GTSRB_CLASSES = tuple(f"{i:05d}" for i in range(43))
"""Folders of GTSRB; its test labels are their numbers."""
FER2013_CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""FER2013's labels 0 to 6, from the challenge's page (clip-benchmark's list has another order)."""
FER2013_USAGE = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
FER2013_IMAGE_SIZE = 48


class GtsrbReader(SplitReader):
    """German traffic signs (Stallkamp et al. 2011)."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        folder = root / "gtsrb/GTSRB"
        if split == "train":
            files = [
                (path.relative_to(folder).as_posix(), path, GTSRB_CLASSES.index(path.parent.name))
                for path in sorted((folder / "Training").rglob("*.ppm"))
            ]
            return build_classification_dataset(dataset, split, files, GTSRB_CLASSES)
        with open(root / "gtsrb/GT-final_test.csv", newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream, delimiter=";", skipinitialspace=True))
        image_folder = folder / "Final_Test/Images"
        files = [(r["Filename"], image_folder / r["Filename"], int(r["ClassId"])) for r in rows]
        return build_classification_dataset(dataset, split, files, GTSRB_CLASSES)


class Fer2013Reader(SplitReader):
    """Facial expressions (Goodfellow et al. 2013), 48 x 48, grey.

    The private test is the test split and the public one validation; torchvision joins them, and
    refuses other files by checksum.
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        import numpy as np

        pixels, labels = [], []
        for row in _read_fer2013_rows(root, dataset):
            if row["Usage"] == FER2013_USAGE[split]:
                pixels.append(np.fromstring(row["pixels"], np.uint8, sep=" "))
                labels.append(int(row["emotion"]))
        images = np.array(pixels).reshape(len(labels), FER2013_IMAGE_SIZE, FER2013_IMAGE_SIZE)
        return _build_from_pixels(
            dataset, split, images, np.array(labels, np.int64), FER2013_CLASSES
        )


class DigitsReader(SplitReader):
    """scikit-learn's copy of the UCI digits, 8 x 8 with 17 grey levels, read from its own file.

    It has no splits: a third of each class is for testing, by a hash of the row's number.
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        import numpy as np

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
    """Yield the rows of either published file: one has a blank before the column names."""
    path = locate(root, dataset.files["test"][0])
    with open(path, newline="", encoding="ascii") as stream:
        for row in csv.DictReader(stream):
            yield {name.strip(): value for name, value in row.items()}


def _build_from_pixels(
    dataset: Dataset,
    split: SplitName,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
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
