"""Alarms about scores on published data sets: labels in another order, chance, and leakage.

What a run kept beside its scores says whether its predictions would be right after a renaming of
the classes, and which test pictures are near-duplicates of training pictures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis import formatting
from analysis.collect import literature, predictions
from analysis.collect.frame import SweepData
from analysis.tables.table import Table, TableCell, make_row
from uniclip.evaluate.checks import label_order, near_duplicates
from uniclip.store import Cell, Plan, Store

OUTCOME_NAMES = ("zeroshot", "zeroshot.accuracy", "retrieval.i2t.r1")
"""Per-sample outcomes of test pictures: the first that a run kept is looked at."""
OUTCOME_LABELS = {"zeroshot": "zero-shot accuracy", "zeroshot.accuracy": "zero-shot accuracy"}


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """What one run's scores on one data set were checked for; None = that could not be."""

    dataset: str
    arm: str
    seed: int
    run: str
    accuracy_as_named: float | None
    """Accuracy as the classes are named, on the half of the pictures that judges a renaming."""
    accuracy_renamed: float | None
    """After the renaming that fits the other half best."""
    label_order_differs: bool | None
    """Whether labels and names seem to be in different orders."""
    above_chance: bool | None
    score: str
    """Whose outcomes `value` and `without` are means of; empty if there are none."""
    value: float | None
    value_without_duplicates: float | None
    """The same without near-duplicates; None if nothing is left, or not comparable."""
    duplicates_comparable: bool = True
    """Whether near-duplicates were looked for among the pictures that were scored."""
    num_near_duplicates: int | None
    """Test pictures that are near-duplicates of training pictures."""
    num_undecidable: int | None
    """Those too plain to be judged."""
    samples: int


def check_published_scores(store: Store, sweep_data: SweepData) -> list[DataCheck]:
    """Every run on every published set on which it was scored."""
    plan = sweep_data.plan
    data_checks: list[DataCheck] = []
    for dataset in literature.list_published_datasets(plan):
        for cell in plan.cells:
            if dataset in plan.evaluation_hashes[cell.arm]:
                data_check = _check_run_on_dataset(store, sweep_data, cell, dataset)
                data_checks += [data_check] if data_check is not None else []
    return data_checks


def _check_run_on_dataset(
    store: Store, sweep_data: SweepData, cell: Cell, dataset: str
) -> DataCheck | None:
    array_names = ("zeroshot.permuted_accuracy", "zeroshot.labels_misordered", "near_duplicate", *OUTCOME_NAMES)
    saved_arrays = predictions.load_arrays(
        store.get_run(cell.run_id), sweep_data.plan, dataset, array_names
    )
    above_chance = _is_above_chance(sweep_data, cell, dataset)
    if not saved_arrays and above_chance is None:
        return None
    accuracies = saved_arrays.get("zeroshot.permuted_accuracy")
    score = next((n for n in OUTCOME_NAMES if n in saved_arrays), "")
    outcomes, duplicate_labels = saved_arrays.get(score), saved_arrays.get("near_duplicate")
    is_near_duplicate = (
        None if duplicate_labels is None else np.equal(duplicate_labels, near_duplicates.DUPLICATE)
    )
    value_without_duplicates, duplicates_comparable = None, True
    if outcomes is not None and is_near_duplicate is not None:
        duplicates_comparable = outcomes.shape == is_near_duplicate.shape
        value_without_duplicates = (
            _compute_mean(outcomes[~is_near_duplicate]) if duplicates_comparable else None
        )
    samples = len(next(a for a in (duplicate_labels, outcomes, np.zeros(0)) if a is not None))
    return DataCheck(
        dataset=dataset,
        arm=cell.arm,
        seed=cell.seed,
        run=cell.run_id,
        accuracy_as_named=None if accuracies is None else float(accuracies[0]),
        accuracy_renamed=None if accuracies is None else float(accuracies[1]),
        label_order_differs=bool(saved_arrays["zeroshot.labels_misordered"][0])
        if "zeroshot.labels_misordered" in saved_arrays
        else None,
        above_chance=above_chance,
        score=score,
        value=_compute_mean(outcomes) if outcomes is not None else None,
        value_without_duplicates=value_without_duplicates,
        duplicates_comparable=duplicates_comparable,
        num_near_duplicates=None if is_near_duplicate is None else int(is_near_duplicate.sum()),
        num_undecidable=None
        if duplicate_labels is None
        else int((duplicate_labels == near_duplicates.UNDECIDABLE).sum()),
        samples=samples,
    )


def _is_above_chance(sweep_data: SweepData, cell: Cell, dataset: str) -> bool | None:
    for name in OUTCOME_NAMES:
        rows = sweep_data.select_score_rows(dataset, name)
        cell_rows = rows[(rows["arm"] == cell.arm) & (rows["seed"] == cell.seed)]
        cell_rows = cell_rows[
            cell_rows["value"].notna() & cell_rows["chance"].notna() & (cell_rows["kind"] != "map")
        ]
        if len(cell_rows):
            value, chance, samples = cell_rows.iloc[0][["value", "chance", "samples"]]
            return label_order.is_above_chance(float(value), float(chance), int(samples))
    return None


def _compute_mean(outcomes: NDArray[np.generic]) -> float | None:
    return math.fsum(outcomes.astype(np.float64)) / len(outcomes) if len(outcomes) else None


# ---- what a report says --------------------------------------------------------------------------


def build_data_checks_table(plan: Plan, data_checks: Sequence[DataCheck]) -> Table:
    """A line for each data set; a row of the CSV for each run and data set."""
    dataset_names = list(dict.fromkeys(c.dataset for c in data_checks))
    rows = []
    for dataset in dataset_names:
        dataset_checks = [c for c in data_checks if c.dataset == dataset]
        rows.append(
            make_row(
                dataset,
                _build_label_order_cell(dataset_checks),
                _build_chance_cell(dataset_checks),
                _describe_near_duplicates(dataset_checks),
                _describe_score_without_duplicates(plan, dataset_checks),
            )
        )
    return Table(
        name="alarms",
        title="Alarms about the published data sets",
        headings=(
            "data set",
            "labels in another order?",
            "runs above chance",
            "near-duplicates of training pictures",
            f"{plan.get_arm(plan.reference).label}: score, and without them",
        ),
        rows=tuple(rows),
        records=tuple(_build_record(c) for c in data_checks),
        num_text_columns=5,
        notes=(
            f"Another order: a renaming of the classes, found on half of the pictures, makes the "
            f"accuracy on the other half {label_order.MIN_ACCURACY_RATIO:g} times as high, beyond "
            f"{label_order.MIN_SIGN_TEST_Z:g} standard deviations.",
            "Above chance: by more than three standard deviations of the test pictures.",
            f"Near-duplicates: difference hashes of 64 bits that differ in at most {near_duplicates.MAX_HASH_DISTANCE}, "
            f"and grey levels by at most {near_duplicates.MAX_GREY_DIFFERENCE:g} of 255 on average, of the pictures' "
            "central squares; mirrored or cropped copies are not found, and of unlike pairs at "
            f"most {1e6 * near_duplicates.MAX_FALSE_POSITIVE_RATE:g} in a million are taken for copies. A starting "
            "checkpoint's own training pictures are not known here.",
        ),
    )


def format_data_check_warnings(plan: Plan, data_checks: Sequence[DataCheck]) -> Iterator[str]:
    """What a reader must not miss: a sentence each; none if all is well."""
    for dataset in dict.fromkeys(c.dataset for c in data_checks):
        dataset_checks = [c for c in data_checks if c.dataset == dataset]
        if any(c.label_order_differs for c in dataset_checks):
            yield f"{dataset}: labels and class names may be in different orders: {_describe_label_order(dataset_checks)}."
        if any(c.num_near_duplicates for c in dataset_checks):
            score_text = _describe_score_without_duplicates(plan, dataset_checks)
            score_suffix = (
                f"; {plan.get_arm(plan.reference).label}: {score_text}" if score_text else ""
            )
            yield f"{dataset}: {_describe_near_duplicates(dataset_checks)}{score_suffix}."


def _build_label_order_cell(dataset_checks: Sequence[DataCheck]) -> TableCell:
    performed_checks = [c for c in dataset_checks if c.label_order_differs is not None]
    if not performed_checks:
        return TableCell(text="not checked", tone="quiet")
    if any(c.label_order_differs for c in performed_checks):
        return TableCell(
            text=f"ALARM: {_describe_label_order(performed_checks)}", tone="bad", bold=True
        )
    return TableCell(text="no")


def _describe_label_order(dataset_checks: Sequence[DataCheck]) -> str:
    flagged_checks = [c for c in dataset_checks if c.label_order_differs]
    worst_check = max(flagged_checks, key=lambda c: c.accuracy_renamed or 0.0)
    return (
        f"in {len(flagged_checks)} of {len(dataset_checks)} runs, accuracy {formatting.format_number(worst_check.accuracy_as_named)} as named, "
        f"{formatting.format_number(worst_check.accuracy_renamed)} renamed"
    )


def _build_chance_cell(dataset_checks: Sequence[DataCheck]) -> TableCell:
    above_chance_flags = [c.above_chance for c in dataset_checks if c.above_chance is not None]
    if not above_chance_flags:
        return TableCell(text="not checked", tone="quiet")
    return TableCell(
        text=f"{sum(above_chance_flags)} of {len(above_chance_flags)}",
        tone="" if all(above_chance_flags) else "bad",
    )


def _describe_near_duplicates(dataset_checks: Sequence[DataCheck]) -> str:
    performed_checks = [c for c in dataset_checks if c.num_near_duplicates is not None]
    if not performed_checks:
        return "not checked"
    duplicate_counts = sorted(
        {c.num_near_duplicates for c in performed_checks if c.num_near_duplicates is not None}
    )
    count_text = (
        f"{duplicate_counts[0]:,}"
        if len(duplicate_counts) == 1
        else f"{duplicate_counts[0]:,} to {duplicate_counts[-1]:,}"
    )
    num_undecidable = max(c.num_undecidable or 0 for c in performed_checks)
    undecidable_text = f" ({num_undecidable:,} too plain to tell)" if num_undecidable else ""
    return (
        f"{count_text} of {performed_checks[0].samples:,} test pictures are near-duplicates of training pictures"
        f"{undecidable_text}"
    )


def _describe_score_without_duplicates(plan: Plan, dataset_checks: Sequence[DataCheck]) -> str:
    reference_checks = [
        c
        for c in dataset_checks
        if c.arm == plan.reference and c.num_near_duplicates and c.value is not None
    ]
    if not reference_checks:
        return ""
    values_without_duplicates = [
        c.value_without_duplicates
        for c in reference_checks
        if c.value_without_duplicates is not None
    ]
    mean_value = math.fsum(c.value for c in reference_checks if c.value is not None) / len(
        reference_checks
    )
    score_label = OUTCOME_LABELS.get(reference_checks[0].score) or formatting.format_score_label(
        reference_checks[0].score
    )
    remaining_text = (
        formatting.format_number(
            math.fsum(values_without_duplicates) / len(values_without_duplicates)
        )
        if values_without_duplicates
        else "none is left"
    )
    if not all(c.duplicates_comparable for c in reference_checks):
        remaining_text = "not comparable"
    return f"{score_label} {formatting.format_number(mean_value)}, without them {remaining_text}"


def _build_record(data_check: DataCheck) -> dict[str, object]:
    return {
        "dataset": data_check.dataset,
        "arm": data_check.arm,
        "seed": data_check.seed,
        "accuracy_as_named": data_check.accuracy_as_named,
        "accuracy_renamed": data_check.accuracy_renamed,
        "other_order": data_check.label_order_differs,
        "above_chance": data_check.above_chance,
        "near_duplicates": data_check.num_near_duplicates,
        "too_plain": data_check.num_undecidable,
        "samples": data_check.samples,
        "score": data_check.score,
        "value": data_check.value,
        "without_near_duplicates": data_check.value_without_duplicates,
        "runs": data_check.run,
    }
