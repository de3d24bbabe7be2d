"""Splits, opened once a process, and their embeddings, a piece at a time.

A worker judges many models in turn; what does not depend on the model is kept between them. The
pictures of a split never stand in memory together.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniclip import data

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.data import Split, SplitName

Float32 = NDArray[np.float32]

BATCH_SIZE = 1024
"""Pictures read at once."""


@lru_cache(maxsize=6)
def open_split_cached(source: Any, split_name: SplitName) -> Split:
    """One part of the data section `source`; raises `UserError` if there is no such data."""
    return data.open_split(source, split_name)


def compute_image_features(
    pretrained: PretrainedModel, split: Split, index: NDArray[np.int64] | None = None
) -> Float32:
    """Image-encoder features, before any head, of the pictures `index` (default: all) of `split`
    under the evaluation transform, (n, F)."""
    index = np.arange(len(split)) if index is None else index
    batches = _batch_indices(len(index))
    return np.concatenate(
        [pretrained.compute_image_features(split.load_pixels(index[batch])) for batch in batches]
    )


def project_features(pretrained: PretrainedModel, features: Float32) -> Float32:
    """Unit rows, (n, D), of pictures whose features (n, F) `trunk` gave.

    Raises `ValueError` if they are not finite: scores of such a model would look like numbers.
    """
    is_read_only = not features.flags.writeable  # torch takes no array that it could not write
    rows = pretrained.project_image(np.array(features) if is_read_only else features)
    if not np.isfinite(rows).all():
        raise ValueError("the model's embeddings are not finite: its weights broke down")
    return rows


def _batch_indices(n: int) -> list[NDArray[np.int64]]:
    return [np.arange(start, min(start + BATCH_SIZE, n)) for start in range(0, n, BATCH_SIZE)]
