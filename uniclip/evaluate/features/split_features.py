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
    from uniclip.checkpoints.pretrained import Pretrained
    from uniclip.data import Part, Split

Float32 = NDArray[np.float32]

PIECE = 1024
"""Pictures read at once."""


@lru_cache(maxsize=6)
def opened(source: Any, part: Part) -> Split:
    """One part of the data section `source`; raises `UserError` if there is no such data."""
    return data.open_split(source, part)


def trunk(pretrained: Pretrained, split: Split, index: NDArray[np.int64] | None = None) -> Float32:
    """Image-encoder features, before any head, of the pictures `index` (default: all) of `split`
    under the evaluation transform, (n, F)."""
    index = np.arange(len(split)) if index is None else index
    pieces = _pieces(len(index))
    return np.concatenate([pretrained.trunk(split.pixels(index[p])) for p in pieces])


def project(pretrained: Pretrained, features: Float32) -> Float32:
    """Unit rows, (n, D), of pictures whose features (n, F) `trunk` gave.

    Raises `ValueError` if they are not finite: scores of such a model would look like numbers.
    """
    mapped = not features.flags.writeable  # torch takes no array that it could not write
    rows = pretrained.project(np.array(features) if mapped else features)
    if not np.isfinite(rows).all():
        raise ValueError("the model's embeddings are not finite: its weights broke down")
    return rows


def _pieces(n: int) -> list[NDArray[np.int64]]:
    return [np.arange(start, min(start + PIECE, n)) for start in range(0, n, PIECE)]
