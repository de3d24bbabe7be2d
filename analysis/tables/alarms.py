"""Table and warnings of the data checks of published data sets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from analysis import formatting
from analysis.results.alarms import DataCheck, select_checks
from analysis.tables.table import Table, TableCell, make_row
from uniclip.evaluate.checks import label_order, near_duplicates
from uniclip.evaluate.checks.copy_search import CopyVerdicts
from uniclip.store import Arm

OUTCOME_LABELS = {"zeroshot": "zero-shot accuracy", "zeroshot.accuracy": "zero-shot accuracy"}
NOT_CHECKED = "not checked"
LEAKAGE_UNCHECKED = "leakage unchecked"


def build_data_checks_table(
    data_checks: Sequence[DataCheck], reference: Arm, by_embedding: Mapping[str, CopyVerdicts]
) -> Table:
    """Return one row per data set; the CSV has one row per run and data set.

    Args:
        data_checks: checks of all runs.
        reference: the arm whose score is given with and without near-duplicates.
        by_embedding: data set -> verdicts of the search by embedding, if there was one.
    """
    rows = []
    for dataset in _list_datasets(data_checks):
        dataset_checks = select_checks(data_checks, dataset)
        rows.append(
            make_row(
                dataset,
                _build_label_order_cell(dataset_checks),
                _build_chance_cell(dataset_checks),
                _describe_copies(dataset_checks, by_embedding.get(dataset)),
                _describe_score_without_duplicates(dataset_checks, reference.name),
            )
        )
    return Table(
        name="data_checks",
        title="Checks of the benchmark data sets",
        headings=(
            "data set",
            "label order differs",
            "runs above chance",
            "near-duplicates of training images",
            f"{reference.label}: score with / without near-duplicates",
        ),
        rows=tuple(rows),
        records=tuple(_build_record(c) for c in data_checks),
        num_text_columns=5,
        notes=(
            "Label order differs: a permutation of the classes, found on half of the images, makes "
            f"the accuracy on the other half {label_order.MIN_ACCURACY_RATIO:g} times as high, by "
            f"more than {label_order.MIN_SIGN_TEST_Z:g} standard deviations.",
            "Above chance: by more than three standard deviations of the test set.",
            f"{LEAKAGE_UNCHECKED.capitalize()}: the test images were not searched for copies of "
            "training images.",
            "Near-duplicates: the 64-bit difference hashes of the images' central squares differ "
            f"in at most {near_duplicates.MAX_HASH_DISTANCE} bits, and their grey levels by at "
            f"most {near_duplicates.MAX_GREY_DIFFERENCE:g} of 255 on average. Mirrored or cropped "
            "copies are not detected; at most "
            f"{1e6 * near_duplicates.MAX_FALSE_POSITIVE_RATE:g} in a million unrelated pairs are "
            "taken for copies. The training images of a starting checkpoint are not known.",
        ),
    )


def format_data_check_warnings(
    data_checks: Sequence[DataCheck], reference: Arm, by_embedding: Mapping[str, CopyVerdicts]
) -> Iterator[str]:
    """Yield a sentence for each data set with misordered labels or copies of training images.

    The arguments are those of `build_data_checks_table`.
    """
    for dataset in _list_datasets(data_checks):
        dataset_checks = select_checks(data_checks, dataset)
        if any(c.label_order_differs for c in dataset_checks):
            yield (
                f"{dataset}: labels and class names may be in different orders: "
                f"{_describe_label_order(dataset_checks)}."
            )
        copies = by_embedding.get(dataset)
        if any(c.num_near_duplicates for c in dataset_checks) or count_copies(copies):
            score_text = _describe_score_without_duplicates(dataset_checks, reference.name)
            score_suffix = f"; {reference.label}: {score_text}" if score_text else ""
            yield f"{dataset}: {_describe_copies(dataset_checks, copies)}{score_suffix}."


def _list_datasets(data_checks: Sequence[DataCheck]) -> list[str]:
    return list(dict.fromkeys(c.dataset for c in data_checks))


def _build_label_order_cell(dataset_checks: Sequence[DataCheck]) -> TableCell:
    performed_checks = [c for c in dataset_checks if c.label_order_differs is not None]
    if not performed_checks:
        return TableCell(text=NOT_CHECKED, tone=formatting.MUTED)
    if any(c.label_order_differs for c in performed_checks):
        return TableCell(
            text=f"WARNING: {_describe_label_order(performed_checks)}",
            tone=formatting.BAD,
            bold=True,
        )
    return TableCell(text="no")


def _describe_label_order(dataset_checks: Sequence[DataCheck]) -> str:
    flagged_checks = [c for c in dataset_checks if c.label_order_differs]
    worst_check = max(flagged_checks, key=lambda c: c.accuracy_permuted or 0.0)
    return (
        f"in {len(flagged_checks)} of {len(dataset_checks)} runs, accuracy "
        f"{_format_proportion(worst_check.accuracy_as_named, worst_check)} as named, "
        f"{_format_proportion(worst_check.accuracy_permuted, worst_check)} permuted"
    )


def _build_chance_cell(dataset_checks: Sequence[DataCheck]) -> TableCell:
    above_chance = [c.above_chance for c in dataset_checks if c.above_chance is not None]
    if not above_chance:
        return TableCell(text=NOT_CHECKED, tone=formatting.MUTED)
    return TableCell(
        text=f"{sum(above_chance)} of {len(above_chance)}",
        tone="" if all(above_chance) else formatting.BAD,
    )


def count_copies(copies: CopyVerdicts | None) -> int:
    """Return the number of test images that are copies by embedding; 0 without a search."""
    return 0 if copies is None else int((copies.verdicts == near_duplicates.DUPLICATE).sum())


def _describe_copies(dataset_checks: Sequence[DataCheck], copies: CopyVerdicts | None) -> str:
    """Return what the search by hash and that by embedding found."""
    by_hash = _describe_near_duplicates(dataset_checks)
    if copies is None:
        return LEAKAGE_UNCHECKED if by_hash is None else by_hash
    if by_hash is not None:
        return f"{by_hash}; by embedding {count_copies(copies):,}"
    return (
        f"{count_copies(copies):,} of {len(copies.verdicts):,} test images are copies of training "
        "images by embedding; not searched by hash"
    )


def _describe_near_duplicates(dataset_checks: Sequence[DataCheck]) -> str | None:
    """Return what the search by hash found; None without one."""
    performed_checks = [c for c in dataset_checks if c.num_near_duplicates is not None]
    if not performed_checks:
        return None
    counts = sorted({c.num_near_duplicates or 0 for c in performed_checks})
    count_text = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    num_undecidable = max(c.num_undecidable or 0 for c in performed_checks)
    undecidable_text = f" ({num_undecidable:,} too plain to decide)" if num_undecidable else ""
    return (
        f"{count_text} of {performed_checks[0].num_images:,} test images are near-duplicates of "
        f"training images{undecidable_text}"
    )


def _describe_score_without_duplicates(dataset_checks: Sequence[DataCheck], reference: str) -> str:
    """Return the reference arm's score with and without near-duplicates; empty without any."""
    reference_checks = [
        c
        for c in dataset_checks
        if c.arm == reference and c.num_near_duplicates and c.value is not None
    ]
    if not reference_checks:
        return ""
    score = reference_checks[0].score
    mean_value = _compute_mean([c.value for c in reference_checks])
    if not all(c.duplicates_comparable for c in reference_checks):
        remaining_text = "not comparable"
    else:
        remaining_mean = _compute_mean([c.value_without_duplicates for c in reference_checks])
        remaining_text = (
            "no image is left"
            if remaining_mean is None
            else _format_proportion(remaining_mean, reference_checks[0])
        )
    return (
        f"{OUTCOME_LABELS.get(score) or formatting.format_score_label(score)} "
        f"{_format_proportion(mean_value, reference_checks[0])}, without them {remaining_text}"
    )


def _format_proportion(value: float | None, data_check: DataCheck) -> str:
    number_format = formatting.choose_proportion_format(value, data_check.num_samples)
    return number_format.format_with_unit(value)


def _compute_mean(values: Sequence[float | None]) -> float | None:
    known_values = [v for v in values if v is not None]
    return math.fsum(known_values) / len(known_values) if known_values else None


def _build_record(data_check: DataCheck) -> dict[str, object]:
    return {
        "dataset": data_check.dataset,
        "arm": data_check.arm,
        "seed": data_check.seed,
        "accuracy_as_named": data_check.accuracy_as_named,
        "accuracy_permuted": data_check.accuracy_permuted,
        "label_order_differs": data_check.label_order_differs,
        "above_chance": data_check.above_chance,
        "num_near_duplicates": data_check.num_near_duplicates,
        "num_undecidable": data_check.num_undecidable,
        "num_images": data_check.num_images,
        "num_samples": data_check.num_samples,
        "score": data_check.score,
        "value": data_check.value,
        "value_without_near_duplicates": data_check.value_without_duplicates,
        "run": data_check.run,
    }
