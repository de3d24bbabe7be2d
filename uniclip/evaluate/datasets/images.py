"""An opened part of an evaluation data set, whatever its form on disk: pictures with their truth.

Opening reads index files only; a picture is decoded when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniclip.data.split import SplitName
from uniclip.errors import UserError

DatasetKind = Literal["classification", "multilabel", "retrieval"]
Metric = Literal["accuracy", "mean_per_class", "map11", "recall"]


class ImageReader(Protocol):
    """Where pictures come from; can be pickled (data workers)."""

    def __call__(self, i: int) -> Image.Image:
        """Picture `i`, RGB; raises OSError, ValueError or SyntaxError if it cannot be read."""


@dataclass(frozen=True, kw_only=True)
class ImageDataset:
    """n pictures in one fixed order, with labels or captions."""

    name: str
    """Of the data set."""
    split: SplitName
    kind: DatasetKind
    metric: Metric
    ids: tuple[str, ...]
    """Of each picture, unique in its part: what features and outcomes are stored under."""
    reader: ImageReader
    labels: NDArray[np.int64] | None = None
    """Classification: (n,), a class. Multi-label: (n, classes), 0 or 1. Retrieval: None."""
    difficult: NDArray[np.bool_] | None = None
    """Multi-label: (n, classes), True where the class is to be left out of that picture's score."""
    classes: tuple[str, ...] = ()
    """The set's own key of each class (folder, synset, name in its label file), by label."""
    captions: tuple[tuple[str, ...], ...] = ()
    """Retrieval: of each picture, one or more, as they stand in the file (duplicates too)."""

    def __post_init__(self) -> None:
        shape = (len(self), len(self.classes)) if self.kind == "multilabel" else (len(self),)
        assert self.kind == "retrieval" or (self.labels is not None and self.labels.shape == shape)
        assert self.kind != "retrieval" or len(self.captions) == len(self)
        assert self.difficult is None or self.difficult.shape == shape
        if len(set(self.ids)) < len(self):
            raise UserError(f"{self.name} lists a picture twice in its {self.split} part")

    def __len__(self) -> int:
        return len(self.ids)

    def load_image(self, i: int) -> Image.Image:
        """Picture `i` as RGB; `UserError` names one that cannot be read."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        try:
            return self.reader(i)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            message = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{self.name}: picture {self.ids[i]} cannot be read ({message}); get the set again"
            ) from None

    def subset(self, index: NDArray[np.int64], split: SplitName) -> ImageDataset:
        """The pictures at `index` (m,), in that order, as another part."""
        return replace(
            self,
            split=split,
            ids=tuple(self.ids[i] for i in index),
            reader=SubsetReader(self.reader, np.asarray(index, np.int64)),
            labels=None if self.labels is None else self.labels[index],
            difficult=None if self.difficult is None else self.difficult[index],
            captions=tuple(self.captions[i] for i in index) if self.captions else (),
        )


@dataclass(frozen=True)
class FileReader:
    """Pictures in files of their own."""

    paths: tuple[str | Path, ...]

    def __call__(self, i: int) -> Image.Image:
        """Picture `i`."""
        with Image.open(self.paths[i]) as image:
            return image.convert("RGB")


@dataclass(frozen=True, eq=False)
class ArrayReader:
    """Pictures in memory or a memory map: (n, H, W) grey or (n, H, W, 3), uint8."""

    pixels: NDArray[np.uint8]

    def __call__(self, i: int) -> Image.Image:
        """Picture `i`."""
        return Image.fromarray(np.ascontiguousarray(self.pixels[i])).convert("RGB")


@dataclass(frozen=True, eq=False)
class SubsetReader:
    """Some pictures of another reader."""

    reader: ImageReader
    index: NDArray[np.int64]

    def __call__(self, i: int) -> Image.Image:
        """Picture `i` of the chosen."""
        return self.reader(int(self.index[i]))


def build_classification_dataset(
    dataset: Any,
    split: SplitName,
    files: Sequence[tuple[str, str | Path, int]],
    classes: Sequence[str],
) -> ImageDataset:
    """Pictures of a classification set from (id, file, label) of each."""
    if not files:
        raise UserError(f"{dataset.name} lists no {split} pictures; {dataset.how}")
    return ImageDataset(
        name=dataset.name,
        split=split,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(f[0] for f in files),
        reader=FileReader(tuple(f[1] for f in files)),
        labels=np.array([f[2] for f in files], np.int64),
        classes=tuple(classes),
    )
