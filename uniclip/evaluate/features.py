"""Embeddings of a split, a piece at a time: its pictures never stand in memory together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from uniclip.data import Split
    from uniclip.model.pretrained import Pretrained

Float32 = NDArray[np.float32]

PIECE = 1024
"""Pictures read at once."""


def embeddings(pretrained: Pretrained, split: Split) -> Float32:
    """Unit rows, (n, D), of every picture of `split` under the evaluation transform."""
    return np.concatenate([pretrained.embed_images(split.pixels(p)) for p in _pieces(len(split))])


def trunk(pretrained: Pretrained, split: Split, index: NDArray[np.int64]) -> Float32:
    """Image-encoder features, (len(index), F), before any head, under the evaluation transform."""
    pieces = _pieces(len(index))
    return np.concatenate([pretrained.trunk(split.pixels(index[p])) for p in pieces])


def _pieces(n: int) -> list[NDArray[np.int64]]:
    return [np.arange(start, min(start + PIECE, n)) for start in range(0, n, PIECE)]
