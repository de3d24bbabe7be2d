"""The index of a split (ids, labels, captions), cached beside its embeddings.

With both, neither images nor index files are needed: they are opened only when an image is loaded,
and may be missing otherwise.
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
from uniclip.errors import CHANGED_DATA_ADVICE, DataChangedError
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets.dataset import Dataset, fresh_fingerprint_cache
from uniclip.evaluate.datasets.images import ImageDataset

ARRAY_FIELDS = ("labels", "groups", "difficult", "pairs", "picture_rows", "photograph_rows")
JSON_FIELDS = ("ids", "classes", "captions")


@dataclass(frozen=True, eq=False)
class LazyReader:
    """Images of a split that is opened when the first of them is loaded."""

    dataset: Dataset
    root: str | Path
    split: SplitName

    def __call__(self, i: int) -> Image.Image:
        """Return image `i`; `UserError` if the data set is missing."""
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
    """Open a split, with its index from the cache if it was opened before.

    fingerprint: of the data set as it is (or last was) under `root`.
    """
    if cache.folder is None:
        return dataset.open(root, split)
    index = cache.get_or_compute(
        {"index_of": dict(fingerprint), "split": split},
        lambda: _read_index(dataset, root, split, fingerprint),
    )
    return _unpack_index(index, LazyReader(dataset, root, split))


def _read_index(
    dataset: Dataset, root: str | Path, split: SplitName, fingerprint: Mapping[str, Any]
) -> dict[str, NDArray[Any]]:
    """Return the index of a split, for the cache.

    Raises:
        DataChangedError: A user's data are no longer those of the fingerprint, under which the
            index would be stored.
    """
    index = _pack_index(dataset.open(root, split))
    if dataset.user_folder is None:
        return index
    with fresh_fingerprint_cache():
        current_files = dataset.fingerprint(root, (split,))["files"]
    if not current_files.items() <= fingerprint["files"].items():
        raise DataChangedError(
            f"{dataset.name} was changed while it was read; {CHANGED_DATA_ADVICE}"
        )
    return index


def _pack_index(dataset: ImageDataset) -> dict[str, NDArray[Any]]:
    metadata = json.dumps({name: getattr(dataset, name) for name in JSON_FIELDS})
    arrays = {name: getattr(dataset, name) for name in ARRAY_FIELDS}
    present_arrays = {name: array for name, array in arrays.items() if array is not None}
    return {**present_arrays, "metadata": np.frombuffer(metadata.encode(), np.uint8)}


def _unpack_index(index: dict[str, NDArray[Any]], reader: LazyReader) -> ImageDataset:
    metadata = json.loads(index["metadata"].tobytes())
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
