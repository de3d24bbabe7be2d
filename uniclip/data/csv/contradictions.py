"""Rows of tables that contradict each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.config import CsvData
from uniclip.data.csv.columns import TableColumns
from uniclip.errors import UserError

if TYPE_CHECKING:
    from uniclip.data.csv.rows import CsvSample


def check_agreement(columns: TableColumns, first: CsvSample, row: CsvSample) -> None:
    """Raise `UserError` unless a row has the label and the split of the image's first row."""
    for key, one, other in (
        ("label_column", first.label, row.label),
        ("split_column", first.declared_split, row.declared_split),
    ):
        if one != other:
            kind = key.removesuffix("_column")
            raise UserError(
                f"{columns.table.path} line {row.line}, column {columns.names[key]!r}: {row.path} "
                f"is {other or ''!r} here but {one or ''!r} on line {first.line}; give each image "
                f"one {kind}"
            )


def check_test_table(config: CsvData, declares_test: bool) -> None:
    """Raise `UserError` if there are test images besides those of the test table.

    declares_test: whether a row of the table says test.
    """
    if declares_test:
        raise UserError(
            f"column {config.split_column!r} of {config.path} says test in some rows, and "
            f"data.test_path={config.test_path} names other test images: leave data.test_path out "
            "or remove these rows"
        )
    if Path(config.test_path).resolve() == Path(config.path).resolve():
        raise UserError(
            "data.test_path and data.path name the same file: name another one, or hold images "
            "out with data.test_fraction"
        )


def check_overlap(samples: Sequence[CsvSample], test_samples: Sequence[CsvSample]) -> None:
    """Raise `UserError` if a test image is a training or validation image too."""
    samples_by_file = {sample.file_key: sample for sample in samples}
    common = [sample for sample in test_samples if sample.file_key in samples_by_file]
    if common:
        raise make_overlap_error(
            len(common), len(test_samples), common[0], samples_by_file[common[0].file_key]
        )


def make_overlap_error(
    num_common: int, num_test: int, test_sample: CsvSample, sample: CsvSample
) -> UserError:
    """Return the error for test images that are in the other table too, with one of them."""
    return UserError(
        f"{num_common} of {num_test} images of data.test_path={test_sample.table_path} are in "
        f"data.path={sample.table_path} too, such as {test_sample.path} on line "
        f"{test_sample.line}, and line {sample.line} there; remove them from one of the tables"
    )
