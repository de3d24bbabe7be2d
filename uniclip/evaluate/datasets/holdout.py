"""Parts that no list of the publishers gives: drawn by a hash of each picture's name.

A picture that is added or lost moves few others, and the draw is the same on every machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uniclip.data.split import Part
from uniclip.evaluate.datasets.images import Pictures
from uniclip.rng import sample_id


def ranks(pictures: Pictures) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The place of each picture within its class by the hash of its name, (n,), and the size of
    its class, (n,)."""
    assert pictures.labels is not None
    kind = pictures.name.split(":")[0]  # of a user's own pictures, wherever they lie
    drawn = np.array([sample_id(f"{kind}/{i}") for i in pictures.ids], np.uint64)
    order = np.lexsort((drawn, pictures.labels))
    sizes = np.bincount(pictures.labels, minlength=len(pictures.classes))
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(pictures), np.int64)
    place[order] = np.arange(len(pictures)) - starts[pictures.labels[order]]
    return place, sizes[pictures.labels]


def held_out(train: Pictures, part: Part, one_in: int) -> Pictures:
    """`train` without, or as validation only, one in `one_in` of each class (rounded up; a class
    of one picture keeps it)."""
    place, size = ranks(train)
    held = (place < -(-size // one_in)) & (size > 1)
    return train.take(np.flatnonzero(held if part == "validation" else ~held), part)
