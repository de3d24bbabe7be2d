"""Minimal pairs on a grid of captions: each is one value of every attribute, in a fixed order.

With A attributes of sizes s_1 .. s_A the grid has K = s_1 * ... * s_A captions, the last attribute
running fastest, so all similarities of a picture are one row and a pair is two of its columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate.metrics import Float, Int, compute_win_rate


def find_caption_columns(values: Int, sizes: Sequence[int]) -> Int:
    """Columns (n,) int64 of the captions that name `values` (n, A) int64."""
    return np.ravel_multi_index(tuple(values.T), tuple(sizes)).astype(np.int64)


def find_changed_columns(values: Int, sizes: Sequence[int], attribute: int) -> Int:
    """Columns (n, s - 1) of the captions that differ from the true one in that attribute alone."""
    size = sizes[attribute]
    columns = []
    for step in range(1, size):
        changed_values = values.copy()
        changed_values[:, attribute] = (changed_values[:, attribute] + step) % size
        columns.append(find_caption_columns(changed_values, sizes))
    return np.stack(columns, axis=1)


def compute_win_rates(similarity: NDArray[Any], values: Int, sizes: Sequence[int]) -> list[Float]:
    """For each attribute, the share of its pairs that a picture wins: A arrays (n,) in [0, 1].

    similarity: (n, K) of pictures with the captions of the grid. values: (n, A) what is true.
    """
    true_similarity = np.take_along_axis(
        similarity, find_caption_columns(values, sizes)[:, None], axis=1
    )[:, 0]
    return [
        compute_win_rate(
            true_similarity,
            np.take_along_axis(similarity, find_changed_columns(values, sizes, attribute), axis=1),
        )
        for attribute in range(len(sizes))
    ]
