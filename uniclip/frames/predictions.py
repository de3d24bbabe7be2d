"""The outcomes of test items in the runs of a sweep as a data frame."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from uniclip.errors import UserError
from uniclip.evaluate.outcome_clusters import (
    find_clusters,
    find_item_rows,
    have_same_items,
    list_row_arrays,
)
from uniclip.frames.records import load_arrays
from uniclip.store import Plan, Store

if TYPE_CHECKING:
    from numpy.typing import NDArray


class NoOutcomesError(UserError):
    """No run of a sweep saved the outcomes of a score."""


class DifferentItemsError(UserError):
    """Arms are scored on different test items, which cannot be paired."""


def build_predictions_frame(
    store: Store, plan: Plan, dataset: str, score: str, arms: Collection[str] | None = None
) -> pd.DataFrame:
    """Return the outcome of every test item: rows are items, columns (arm, seed).

    Args:
        store: the store.
        plan: the plan of the sweep.
        dataset: the data set.
        score: name of a score that is a mean of outcomes.
        arms: the arms; None for all.

    Raises:
        NoOutcomesError: no run saved outcomes of this score.
        DifferentItemsError: the arms are scored on different test items.
    """
    columns: dict[tuple[str, int], NDArray[Any]] = {}
    arrays_by_evaluation: dict[str | None, dict[str, NDArray[Any]]] = {}
    index: pd.MultiIndex | None = None
    for cell in plan.cells:
        if arms is not None and cell.arm not in arms:
            continue
        evaluation = plan.evaluation_hashes[cell.arm].get(dataset)
        row_names = [] if evaluation in arrays_by_evaluation else list_row_arrays(score)
        run = store.get_run(cell.run_id)
        arrays = load_arrays(run, dataset, evaluation, [score, *row_names])
        if score not in arrays:
            continue
        outcomes = arrays.pop(score)
        if evaluation not in arrays_by_evaluation:
            arrays_by_evaluation[evaluation] = arrays
        if index is None:
            index = _index_items(score, len(outcomes), arrays)
        first = next(iter(arrays_by_evaluation.values()))
        if len(outcomes) != len(index) or not have_same_items(first, arrays):
            raise DifferentItemsError(
                f"arms {next(iter(columns))[0]} and {cell.arm} of {plan.sweep_id} are scored "
                f"on different test items of {dataset}, which cannot be paired: name arms of "
                "the same items"
            )
        columns[cell.arm, cell.seed] = outcomes.astype(np.float64)
    if index is None:
        raise NoOutcomesError(
            f"no run of {plan.sweep_id} saved the outcomes of {score} on {dataset}: it may be "
            "no mean over test samples; scores() lists the scores"
        )
    frame = pd.DataFrame(columns, index=index)
    frame.columns.names = ["arm", "seed"]
    return frame


def _index_items(
    score: str, num_outcomes: int, arrays: Mapping[str, NDArray[Any]]
) -> pd.MultiIndex:
    """Return the index of the outcomes of a score: item, image and cluster.

    Outcomes of several images each have no image (-1), but may be in a cluster.
    """
    rows = find_item_rows(score, num_outcomes, arrays)
    image = np.full(num_outcomes, -1) if rows is None else rows
    clusters = find_clusters(score, num_outcomes, arrays)
    is_matched = clusters is not None and len(clusters) == num_outcomes
    cluster = clusters if is_matched else image
    return pd.MultiIndex.from_arrays(
        [np.arange(num_outcomes), image, cluster], names=["item", "image", "cluster"]
    )
