"""Minimal pairs on a grid of captions, each with one value of every attribute in a fixed order.

With A attributes of sizes s_1 .. s_A the grid has K = s_1 * ... * s_A captions, the last attribute
varying fastest: the similarities of an image are one row, and a pair is two of its columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uniclip.evaluate.metrics import Float, Int, Numbers, compute_win_rate


def find_caption_columns(values: Int, sizes: Sequence[int]) -> Int:
    """Return the columns (n,) int64 of the captions with attribute values (n, A) int64."""
    columns: Int = np.ravel_multi_index(tuple(values.T), tuple(sizes)).astype(np.int64)
    return columns


def find_changed_columns(values: Int, sizes: Sequence[int], attribute: int) -> Int:
    """Return columns (n, s - 1) of the captions that differ in that attribute alone."""
    size = sizes[attribute]
    columns = []
    for step in range(1, size):
        changed_values = values.copy()
        changed_values[:, attribute] = (changed_values[:, attribute] + step) % size
        columns.append(find_caption_columns(changed_values, sizes))
    return np.stack(columns, axis=1)


def compute_win_rates(similarity: Numbers, values: Int, sizes: Sequence[int]) -> list[Float]:
    """Return for each attribute the share of pairs that an image wins: A arrays (n,) in [0, 1].

    similarity: (n, K) of images with the captions of the grid. values: (n, A) true attributes.
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
