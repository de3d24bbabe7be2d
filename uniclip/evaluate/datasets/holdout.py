"""Splits that no published list defines, drawn by a hash of each image's name.

An image that is added or removed moves few others, and the draw is the same on every machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from uniclip.data.split import SplitName
    from uniclip.evaluate.datasets.images import ImageDataset


def rank_within_class(dataset: ImageDataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rank of each image within its class by the hash of its id, and the class size.

    Both (n,) int64; ranks count from 0.
    """
    import numpy as np

    from uniclip.rng import hash_sample_id

    assert dataset.labels is not None
    kind = dataset.name.split(":")[0]  # of user-defined data, wherever they are stored
    hashes = np.array([hash_sample_id(f"{kind}/{i}") for i in dataset.ids], np.uint64)
    order = np.lexsort((hashes, dataset.labels))
    sizes = np.bincount(dataset.labels, minlength=len(dataset.classes))
    starts = np.cumsum(sizes) - sizes
    class_rank = np.empty(len(dataset), np.int64)
    class_rank[order] = np.arange(len(dataset)) - starts[dataset.labels[order]]
    return class_rank, sizes[dataset.labels]


def select_held_out(train: ImageDataset, split: SplitName, one_in: int) -> ImageDataset:
    """Return `train` without the held-out images, or these alone as split "validation".

    One in `one_in` of each class is held out, rounded up; a class of one image keeps it.
    """
    class_rank, class_size = rank_within_class(train)
    is_validation = (class_rank < -(-class_size // one_in)) & (class_size > 1)
    is_selected = is_validation if split == "validation" else ~is_validation
    return train.subset(is_selected.nonzero()[0], split)
