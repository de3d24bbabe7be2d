"""The image and the cluster of each outcome that is saved with a score."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from uniclip.evaluate.outcome_clusters import (
    CLUSTER_ARRAY,
    find_clusters,
    find_item_rows,
    list_row_arrays,
)

IDS = np.arange(4)
CAPTIONS = np.array([0, 0, 2], np.int32)
LABELS = np.array([-1, 0, -1, 1])
CLUSTERS = np.array([7, 7, 8, 9], np.uint64)


@pytest.mark.parametrize(
    ("score", "rows", "clusters"),
    [
        ("retrieval.r1", [0, 1, 2, 3], [7, 7, 8, 9]),
        ("retrieval.t2i.r1", [0, 0, 2], [7, 7, 8]),
        ("zeroshot.kind", [1, 3], [7, 9]),
        ("zeroshot.kind[a]", [1, 3], [7, 9]),
        ("zeroshot.other", None, [7, 7, 8, 9]),
    ],
)
def test_outcomes_belong_to_images_and_their_clusters(
    score: str, rows: list[int] | None, clusters: list[int] | None
) -> None:
    arrays = {"ids": IDS, "retrieval.t2i.image": CAPTIONS, "labels.kind": LABELS}
    num_outcomes = 2 if rows is None else len(rows)
    assert to_list(find_item_rows(score, num_outcomes, arrays)) == rows
    named = {name: arrays[name] for name in list_row_arrays(score) if name in arrays}
    of_captions = rows if ".t2i." in score else None
    assert to_list(find_clusters(score, num_outcomes, named)) == of_captions
    named[CLUSTER_ARRAY] = CLUSTERS
    assert to_list(find_clusters(score, num_outcomes, named)) == clusters


def test_outcomes_of_several_images_each_may_have_clusters_of_their_own() -> None:
    arrays = {CLUSTER_ARRAY: CLUSTERS}
    assert find_item_rows("association.cues", 4, arrays) is None
    assert to_list(find_clusters("association.cues", 4, arrays)) == CLUSTERS.tolist()
    unmatched = find_clusters("association.cues", 5, arrays)
    assert to_list(unmatched) == CLUSTERS.tolist(), "of another length: nothing is estimated"


def to_list(array: NDArray[np.generic] | None) -> list[int] | None:
    return None if array is None else array.tolist()
