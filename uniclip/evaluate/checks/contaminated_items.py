"""Scores without the test items that show, or are about, an image of the training data.

An item is what a score is the mean over: an image, a caption, a pair of images, a cue with its
candidates. It is contaminated if any of its images is a near-duplicate of a training image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate.checks.near_duplicates import DUPLICATE
from uniclip.evaluate.outcome_clusters import find_item_rows, list_row_arrays

VERDICTS, PHOTOGRAPHS, PAIRS = "near_duplicate", "photographs", "pairs"
"""Saved arrays (n,): verdict on each test image, its photograph, its pair or cue."""

Flags = NDArray[np.bool_]
Arrays = Mapping[str, NDArray[Any]]


def list_needed_arrays(score: str) -> list[str]:
    """Return the names of the arrays from which `find_contaminated_items` finds the items."""
    return [VERDICTS, PHOTOGRAPHS, PAIRS, *list_row_arrays(score)]


def find_contaminated_items(score: str, num_items: int, arrays: Arrays) -> Flags | None:
    """Return which items of a score are contaminated, (num_items,).

    Args:
        score: Its name.
        num_items: Number of its outcomes.
        arrays: Arrays that were saved with it.

    Returns:
        The flags; None if the images were not searched, or if the images of the items are unknown.
    """
    if VERDICTS not in arrays:
        return None
    is_copy: Flags = arrays[VERDICTS] == DUPLICATE
    if len(arrays.get("ids", ())) != len(is_copy):
        return None
    rows = find_item_rows(score, num_items, arrays)
    if rows is not None:
        return is_copy[rows]
    pairs = arrays.get(PAIRS)
    if pairs is None or ".t2i." in score or len(pairs) != len(is_copy):
        return None
    _, items = np.unique(pairs, return_inverse=True)
    flags = np.bincount(items, is_copy) > 0
    return flags if len(flags) == num_items else None


def add_verdicts(
    arrays: dict[str, NDArray[Any]], verdicts: NDArray[np.int8] | None
) -> dict[str, NDArray[Any]]:
    """Return arrays whose verdicts are `DUPLICATE` where those of either search are.

    verdicts: (n,) of another search; None: there was none.
    """
    if not arrays or verdicts is None:
        return arrays
    saved = arrays.get(VERDICTS, verdicts)
    if len(saved) != len(verdicts):
        return arrays
    return {**arrays, VERDICTS: np.maximum(saved, verdicts)}


def count_photographs(verdict: int | None, arrays: Arrays) -> int:
    """Return the number of photographs of the test images with a verdict; None: of all."""
    verdicts = arrays[VERDICTS]
    has_verdict = np.ones(len(verdicts), bool) if verdict is None else verdicts == verdict
    photographs = arrays.get(PHOTOGRAPHS)
    if photographs is None or len(photographs) != len(has_verdict):
        return int(has_verdict.sum())
    return len(np.unique(photographs[has_verdict]))
