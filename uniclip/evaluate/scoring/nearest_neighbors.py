"""Classification by the nearest training images, with weighted votes (Wu et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from uniclip.errors import StopRequested
from uniclip.evaluate.metrics import Float, Int, Numbers
from uniclip.evaluate.scoring.retrieval import SIMILARITIES_PER_BLOCK


def count_votes(
    queries: Numbers,
    keys: Numbers,
    labels: Int,
    num_classes: int,
    neighbors: int,
    temperature: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> Float:
    """Return the votes (n, C) for each class: the sum of exp(cosine / temperature).

    Args:
        queries: (n, F), of any length.
        keys: (N, F), of any length.
        labels: (N,) int64 classes of the keys.
        num_classes: C.
        neighbors: Number of nearest keys that vote, all of them if there are fewer.
        temperature: Of the weight of a vote.
        should_stop: Called for each block of queries; `StopRequested` is raised once it is True.
    """
    neighbors = min(neighbors, len(keys))
    unit_keys, unit_queries = _normalize(keys), _normalize(queries)
    votes = np.zeros((len(queries), num_classes))
    step = max(1, SIMILARITIES_PER_BLOCK // len(keys))
    for start in range(0, len(queries), step):
        if should_stop():
            raise StopRequested
        cosines = unit_queries[start : start + step] @ unit_keys.T
        nearest = np.argpartition(-cosines, neighbors - 1, axis=1)[:, :neighbors]
        weights = np.exp(np.take_along_axis(cosines, nearest, axis=1) / temperature)
        rows = np.repeat(np.arange(start, start + len(cosines)), neighbors)
        np.add.at(votes, (rows, labels[nearest].ravel()), weights.ravel())
    return votes


def _normalize(rows: Numbers) -> Numbers:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norm, np.finfo(np.float32).tiny))
