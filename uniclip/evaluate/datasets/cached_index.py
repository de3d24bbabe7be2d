"""The index of a data set's part (ids, labels, captions), kept beside embeddings.

Who has both needs neither the pictures nor the index files: these are opened only when a picture is
asked for, and may be gone until then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniclip.data.split import SplitName
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import ImageDataset

ARRAY_FIELDS = ("labels", "difficult")
JSON_FIELDS = ("ids", "classes", "captions")


@dataclass(frozen=True, eq=False)
class LazyReader:
    """Pictures of a part that is opened with the first of them."""

    dataset: Dataset
    root: str | Path
    split: SplitName

    def __call__(self, i: int) -> Image.Image:
        """Picture `i`; `UserError` if the data set is gone."""
        return self._image_dataset.reader(i)

    @cached_property
    def _image_dataset(self) -> ImageDataset:
        return self.dataset.open(self.root, self.split)


def open_with_cached_index(
    dataset: Dataset,
    root: str | Path,
    split: SplitName,
    fingerprint: Mapping[str, Any],
    cache: Cache,
) -> ImageDataset:
    """One part of a data set, its index from the cache if it was ever opened.

    data: the fingerprint of the data set as it is (or was) under `root`.
    """
    if cache.folder is None:
        return dataset.open(root, split)
    index = cache.get_or_compute(
        {"index of": dict(fingerprint), "part": split},
        lambda: _pack_index(dataset.open(root, split)),
    )
    return _unpack_index(index, LazyReader(dataset, root, split))


def _pack_index(dataset: ImageDataset) -> dict[str, NDArray[Any]]:
    metadata = json.dumps({name: getattr(dataset, name) for name in JSON_FIELDS})
    arrays = {name: getattr(dataset, name) for name in ARRAY_FIELDS}
    present_arrays = {name: array for name, array in arrays.items() if array is not None}
    return {**present_arrays, "said": np.frombuffer(metadata.encode(), np.uint8)}


def _unpack_index(index: dict[str, NDArray[Any]], reader: LazyReader) -> ImageDataset:
    metadata = json.loads(index["said"].tobytes())
    return ImageDataset(
        name=reader.dataset.name,
        split=reader.split,
        kind=reader.dataset.kind,
        metric=reader.dataset.metric,
        reader=reader,
        ids=tuple(metadata["ids"]),
        classes=tuple(metadata["classes"]),
        captions=tuple(tuple(image_captions) for image_captions in metadata["captions"]),
        **{name: index.get(name) for name in ARRAY_FIELDS},
    )
