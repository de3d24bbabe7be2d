"""Parts that no list of the publishers gives: drawn by a hash of each picture's name.

A picture that is added or lost moves few others, and the draw is the same on every machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uniclip.data.split import SplitName
from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.rng import hash_sample_id


def rank_within_class(dataset: ImageDataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The place of each picture within its class by the hash of its name, (n,), and the size of
    its class, (n,)."""
    assert dataset.labels is not None
    kind = dataset.name.split(":")[0]  # of a user's own pictures, wherever they lie
    hashes = np.array([hash_sample_id(f"{kind}/{i}") for i in dataset.ids], np.uint64)
    order = np.lexsort((hashes, dataset.labels))
    sizes = np.bincount(dataset.labels, minlength=len(dataset.classes))
    starts = np.cumsum(sizes) - sizes
    class_rank = np.empty(len(dataset), np.int64)
    class_rank[order] = np.arange(len(dataset)) - starts[dataset.labels[order]]
    return class_rank, sizes[dataset.labels]


def select_held_out(train: ImageDataset, split: SplitName, one_in: int) -> ImageDataset:
    """`train` without, or as validation only, one in `one_in` of each class (rounded up; a class
    of one picture keeps it)."""
    class_rank, class_size = rank_within_class(train)
    is_validation = (class_rank < -(-class_size // one_in)) & (class_size > 1)
    return train.subset(
        np.flatnonzero(is_validation if split == "validation" else ~is_validation), split
    )
