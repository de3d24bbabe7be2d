"""Embeddings of a data set, computed once and kept as a memory-mapped file keyed by content.

The key is everything that the rows depend on: the weights' hash, the data's fingerprint, the ids of
the samples in their order, the transform, and which features they are. So a stale or misaligned
cache cannot be read by mistake, and a new template or metric needs no picture. The files are
disposable: one that is missing or damaged is made again.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip import identity

Float32 = NDArray[np.float32]

PIECE = 1024
"""Samples embedded at once."""


def key(
    *,
    weights: str,
    data: Mapping[str, Any],
    ids: Sequence[str] | NDArray[Any],
    transform: Any,
    features: str,
) -> str:
    """16 hex digits over what the rows depend on.

    weights: hash of the model's weights. data: the data set's fingerprint and its part. ids: of the
    samples, in the order of the rows. transform: plain JSON. features: trunk, embedding, or so.
    """
    return identity.digest(
        {
            "weights": weights,
            "data": dict(data),
            "ids": identity.digest([str(i) for i in ids]),
            "transform": transform,
            "features": features,
        }
    )


def kept(
    folder: Path, name: str, n: int, embed: Callable[[NDArray[np.int64]], NDArray[Any]]
) -> Float32:
    """Rows (n, F) float32, read-only and memory-mapped, from `folder`; embedded if not there.

    name: of `key`. embed: indices (m,) int64 of samples to their rows (m, F). Nothing is left in
    the folder if it fails; whoever finishes last wins, and all write the same.
    """
    path = folder / f"{name}.npy"
    found = _opened(path, n)
    if found is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{name}.{uuid.uuid4().hex}"
    try:
        _write(temporary, n, embed)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    made = _opened(path, n)
    assert made is not None, path
    return made


def _write(path: Path, n: int, embed: Callable[[NDArray[np.int64]], NDArray[Any]]) -> None:
    rows: np.memmap[Any, Any] | None = None
    for start in range(0, n, PIECE):
        index = np.arange(start, min(start + PIECE, n))
        piece = np.asarray(embed(index), dtype=np.float32)
        assert piece.shape[:1] == index.shape, (piece.shape, index.shape)
        if rows is None:
            shape = (n, *piece.shape[1:])
            rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        rows[index] = piece
    if rows is None:
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(0, 0))
        return
    rows.flush()


def _opened(path: Path, n: int) -> Float32 | None:
    try:
        rows: Float32 = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows.ndim == 2 and len(rows) == n and rows.dtype == np.float32 else None
