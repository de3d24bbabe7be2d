"""Data checks of published sets and of the user's own: order of labels, chance, near-duplicates.

The arrays that a run saves with its scores tell whether a permutation of the classes would make its
predictions correct, and which test images are near-duplicates of training images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.collect import literature
from analysis.collect.frame import SweepData
from uniclip.evaluate.checks import contaminated_items, label_order, near_duplicates
from uniclip.frames.records import load_arrays
from uniclip.io.atomic import read_jsonl
from uniclip.store import Cell, RunFolder, Store

OUTCOME_NAMES = (
    *("zeroshot", "zeroshot.accuracy", "retrieval.i2t.r1"),
    *("composition.text", "association.jaccard"),
)
"""Per-sample outcomes of test images; the first one that a run saved is used."""
UNREADABLE_COLUMN, UNREADABLE_EVENT = "unreadable_images", "unreadable_image"
"""Training images that were replaced, in the metrics of a run and in its events."""
MAX_NAMED = 3
"""Unreadable images that a sentence names."""


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """Checks of one run's scores on one data set; None where a check is impossible."""

    dataset: str
    arm: str
    seed: int
    run: str
    accuracy_as_named: float | None
    """Accuracy with the given class names, on the half of the images that tests a permutation."""
    accuracy_permuted: float | None
    """Accuracy after the permutation of classes that fits the other half best."""
    label_order_differs: bool | None
    """Whether labels and class names seem to be in different orders."""
    above_chance: bool | None
    score: str
    """Score whose outcomes the two values below average; empty without outcomes."""
    value: float | None
    value_without_duplicates: float | None
    """Value without near-duplicates; None if no image is left, or if they are not comparable."""
    duplicates_comparable: bool = True
    """Whether it is known which of the scored items have near-duplicates."""
    num_near_duplicates: int | None
    """Number of test images that are near-duplicates of training images."""
    num_undecidable: int | None
    """Number of test images that are too plain to be compared."""
    num_samples: int
    num_images: int = 0
    """Number of test images that were searched, those of one photograph counted once."""


def check_published_scores(store: Store, sweep_data: SweepData) -> list[DataCheck]:
    """Check every run on every published data set on which it was scored, and on its own table."""
    plan = sweep_data.plan
    data_checks = []
    evaluated_datasets = {d for hashes in plan.evaluation_hashes.values() for d in hashes}
    for dataset in (
        *literature.list_published_datasets(plan.evaluation_hashes, plan.missing_datasets),
        *(d for d in literature.CUSTOM_SOURCES if d in evaluated_datasets),
    ):
        above_chance = _test_against_chance(sweep_data, dataset)
        data_checks += [
            _check_run(
                store,
                cell,
                dataset,
                plan.evaluation_hashes[cell.arm][dataset],
                above_chance.get((cell.arm, cell.seed)),
            )
            for cell in plan.cells
            if dataset in plan.evaluation_hashes[cell.arm]
        ]
    return [check for check in data_checks if check is not None]


def describe_unreadable_images(store: Store, sweep_data: SweepData) -> list[str]:
    """Return a sentence if runs were trained with other images in place of unreadable ones."""
    history = sweep_data.history
    if UNREADABLE_COLUMN not in history:
        return []
    counts = history.dropna(subset=[UNREADABLE_COLUMN]).groupby("run")[UNREADABLE_COLUMN].max()
    if counts.empty:
        return []
    messages = dict.fromkeys(
        event["message"]
        for run_id in sorted(counts.index)
        for event in _read_events(store.get_run(run_id))
        if event.get("event") == UNREADABLE_EVENT
    )
    smallest, largest = int(counts.min()), int(counts.max())
    count_text = f"{largest}" if smallest == largest else f"{smallest} to {largest}"
    more_text = f"; and {len(messages) - MAX_NAMED} more" if len(messages) > MAX_NAMED else ""
    return [
        f"Training images that cannot be read were replaced by others, {count_text} in each of "
        f"{len(counts)} runs: {'; '.join([*messages][:MAX_NAMED])}{more_text}."
    ]


def describe_changed_contents(sweep_data: SweepData) -> list[str]:
    """Return a sentence if runs were trained on shards of equal names that hold other samples."""
    runs_by_content: dict[str, dict[str, list[str]]] = {}
    for run_id, content in sweep_data.data_contents.items():
        for key, value in content.items():
            runs_by_content.setdefault(key, {}).setdefault(value, []).append(run_id)
    cell_by_run = {cell.run_id: f"{cell.arm}/{cell.seed}" for cell in sweep_data.plan.cells}
    odd_cells = list(
        dict.fromkeys(  # a cell may have several shards that changed
            cell_by_run[run_id]
            for groups in runs_by_content.values()
            for runs in sorted(groups.values(), key=len)[:-1]
            for run_id in runs
        )
    )
    if not odd_cells:
        return []
    more_text = f" and {len(odd_cells) - MAX_NAMED} more" if len(odd_cells) > MAX_NAMED else ""
    return [
        "Trained on shards of the same names and sizes that hold other samples: "
        f"{', '.join(odd_cells[:MAX_NAMED])}{more_text}."
    ]


def _read_events(run: RunFolder) -> list[dict[str, Any]]:
    attempts = [run.get_attempt(number) for number in run.list_attempts()]
    return [event for attempt in attempts for event in read_jsonl(attempt.events_path)]


def _check_run(
    store: Store, cell: Cell, dataset: str, evaluation_hash: str, above_chance: bool | None
) -> DataCheck | None:
    checked_names = (
        "zeroshot.permuted_accuracy",
        "zeroshot.labels_misordered",
        *OUTCOME_NAMES,
        contaminated_items.VERDICTS,
    )
    item_names = {n for name in OUTCOME_NAMES for n in contaminated_items.list_needed_arrays(name)}
    saved_arrays = load_arrays(
        store.get_run(cell.run_id), dataset, evaluation_hash, [*{*checked_names, *item_names}]
    )
    if above_chance is None and not any(name in saved_arrays for name in checked_names):
        return None
    accuracies = saved_arrays.get("zeroshot.permuted_accuracy")
    misordered = saved_arrays.get("zeroshot.labels_misordered")
    score = next((n for n in OUTCOME_NAMES if n in saved_arrays), "")
    outcomes = saved_arrays.get(score)
    duplicate_labels = saved_arrays.get(contaminated_items.VERDICTS)
    value_without_duplicates, duplicates_comparable = None, True
    if outcomes is not None and duplicate_labels is not None:
        flags = contaminated_items.find_contaminated_items(score, len(outcomes), saved_arrays)
        duplicates_comparable = flags is not None
        if flags is not None:
            value_without_duplicates = _compute_mean(outcomes[~flags])
    scored_array = outcomes if duplicate_labels is None else duplicate_labels
    return DataCheck(
        dataset=dataset,
        arm=cell.arm,
        seed=cell.seed,
        run=cell.run_id,
        accuracy_as_named=None if accuracies is None else float(accuracies[0]),
        accuracy_permuted=None if accuracies is None else float(accuracies[1]),
        label_order_differs=None if misordered is None else bool(misordered[0]),
        above_chance=above_chance,
        score=score,
        value=None if outcomes is None else _compute_mean(outcomes),
        value_without_duplicates=value_without_duplicates,
        duplicates_comparable=duplicates_comparable,
        num_near_duplicates=_count_images(saved_arrays, near_duplicates.DUPLICATE),
        num_undecidable=_count_images(saved_arrays, near_duplicates.UNDECIDABLE),
        num_samples=0 if scored_array is None else len(scored_array),
        num_images=_count_images(saved_arrays) or 0,
    )


def _test_against_chance(sweep_data: SweepData, dataset: str) -> dict[tuple[str, int], bool]:
    """Return (arm, seed) -> whether the first score of `OUTCOME_NAMES` exceeds chance."""
    above_chance: dict[tuple[str, int], bool] = {}
    for name in OUTCOME_NAMES:
        rows = sweep_data.select_score_rows(dataset, name)
        rows = rows[rows["value"].notna() & rows["chance"].notna() & (rows["kind"] != "map")]
        columns = (rows[c] for c in ("arm", "seed", "value", "chance", "samples"))
        for arm, seed, value, chance, samples in zip(*columns):
            if (arm, int(seed)) not in above_chance:
                above_chance[arm, int(seed)] = label_order.is_above_chance(
                    float(value), float(chance), int(samples)
                )
    return above_chance


def _count_images(saved_arrays: dict[str, NDArray[Any]], verdict: int | None = None) -> int | None:
    """Return the number of test images with a verdict, or of all; None if none was searched."""
    if contaminated_items.VERDICTS not in saved_arrays:
        return None
    return contaminated_items.count_photographs(verdict, saved_arrays)


def _compute_mean(outcomes: NDArray[np.generic]) -> float | None:
    return math.fsum(outcomes.astype(np.float64)) / len(outcomes) if len(outcomes) else None


def select_checks(data_checks: Sequence[DataCheck], dataset: str) -> list[DataCheck]:
    """Return the checks of one data set."""
    return [c for c in data_checks if c.dataset == dataset]
