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

from uniclip.data.split import Part
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import Pictures

TRUTH = ("labels", "difficult")
SAID = ("ids", "classes", "captions")


@dataclass(frozen=True, eq=False)
class Later:
    """Pictures of a part that is opened with the first of them."""

    dataset: Dataset
    root: str | Path
    part: Part

    def __call__(self, i: int) -> Image.Image:
        """Picture `i`; `UserError` if the data set is gone."""
        return self._opened.read(i)

    @cached_property
    def _opened(self) -> Pictures:
        return self.dataset.open(self.root, self.part)


def opened(
    dataset: Dataset, root: str | Path, part: Part, data: Mapping[str, Any], cache: Cache
) -> Pictures:
    """One part of a data set, its index from the cache if it was ever opened.

    data: the fingerprint of the data set as it is (or was) under `root`.
    """
    if cache.folder is None:
        return dataset.open(root, part)
    index = cache.arrays(
        {"index of": dict(data), "part": part}, lambda: _packed(dataset.open(root, part))
    )
    return _unpacked(index, Later(dataset, root, part))


def _packed(pictures: Pictures) -> dict[str, NDArray[Any]]:
    said = json.dumps({name: getattr(pictures, name) for name in SAID})
    truth = {name: getattr(pictures, name) for name in TRUTH}
    packed = {name: array for name, array in truth.items() if array is not None}
    return {**packed, "said": np.frombuffer(said.encode(), np.uint8)}


def _unpacked(index: dict[str, NDArray[Any]], read: Later) -> Pictures:
    said = json.loads(index["said"].tobytes())
    return Pictures(
        name=read.dataset.name,
        part=read.part,
        kind=read.dataset.kind,
        metric=read.dataset.metric,
        read=read,
        ids=tuple(said["ids"]),
        classes=tuple(said["classes"]),
        captions=tuple(tuple(own) for own in said["captions"]),
        **{name: index.get(name) for name in TRUTH},
    )
