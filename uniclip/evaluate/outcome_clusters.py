"""The test images and clusters of the outcomes that are saved with scores.

The saved arrays are one of outcomes for each score, named as it is; the ids of the images; the
cluster of each image (`CLUSTER_ARRAY`); the image of each caption (`<task>.t2i.image`), and the
label of each image in a set of labels, -1 without one (`labels.<set>`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLUSTER_ARRAY = "family"
"""Array with the cluster of each image: images of one cluster are variants of each other."""


def list_row_arrays(score: str) -> list[str]:
    """Return the names of the arrays by which outcomes are matched with images and clusters."""
    return ["ids", CLUSTER_ARRAY, _name_caption_array(score), _name_label_array(score)]


def find_item_rows(
    score: str, num_outcomes: int, arrays: Mapping[str, NDArray[Any]]
) -> NDArray[np.int64] | None:
    """Return for each outcome of a score the row of its test image, shape (n,); None if unknown.

    A score may be of all images, of those that have a label, or of captions, which belong to
    images.

    Args:
        score: name of the score.
        num_outcomes: number n of its outcomes.
        arrays: arrays that the run saved with it, those of `list_row_arrays` among them.
    """
    captions = arrays.get(_name_caption_array(score))
    if captions is not None and len(captions) == num_outcomes:
        return captions.astype(np.int64)
    if num_outcomes == len(arrays.get("ids", ())):
        return np.arange(num_outcomes)
    labels = arrays.get(_name_label_array(score))
    if labels is not None and int((labels >= 0).sum()) == num_outcomes:
        return np.flatnonzero(labels >= 0)
    return None


def find_clusters(
    score: str, num_outcomes: int, arrays: Mapping[str, NDArray[Any]]
) -> NDArray[Any] | None:
    """Return the cluster of each outcome of a score, shape (n,); None where each is its own.

    Outcomes of captions are of the cluster of their image; if images come in no clusters, those of
    one image are one. Where outcomes cannot be matched with images, the clusters of all images are
    returned, of another length: of such outcomes no uncertainty is estimated.

    Args:
        score: name of the score.
        num_outcomes: number n of its outcomes.
        arrays: as `find_item_rows` takes them.
    """
    rows, clusters = find_item_rows(score, num_outcomes, arrays), arrays.get(CLUSTER_ARRAY)
    if clusters is None:
        return rows if _name_caption_array(score) in arrays else None
    return clusters if rows is None else clusters[rows]


def have_same_items(first: Mapping[str, NDArray[Any]], second: Mapping[str, NDArray[Any]]) -> bool:
    """Return whether two evaluations are of the same test items in one order, as far as is saved.

    Args:
        first: those of the arrays of `list_row_arrays` that one run saved.
        second: those that another run saved.
    """
    return all(np.array_equal(first[name], second[name]) for name in first.keys() & second.keys())


def _name_caption_array(score: str) -> str:
    """Return the name of the array with the image of each caption; "" for scores of images."""
    task, separator, _ = score.partition(".t2i.")
    return f"{task}.t2i.image" if separator else ""


def _name_label_array(score: str) -> str:
    """Return the name of the array of labels that a score may be about; "" if it is about none."""
    words = score.partition("[")[0].split(".")
    return f"labels.{words[1]}" if len(words) > 1 else ""
