"""What a plan says of rows: samples of splits and classes, names, and rows that are skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.csv_data import csv_config, write_csv
from uniclip.data.csv.faults import RowFault
from uniclip.data.csv.index import recall_index
from uniclip.data.csv.summary import RowSummary
from uniclip.errors import UserError

HEADER = ("picture", "caption", "kind", "half")
TABLE = [
    ("1.png", "one", "a", "train"),
    ("2.png", "two", "b", "train"),
    ("./1.png", "uno", "a", "train"),
    ("3.png", "", "a", "train"),
    ("4.png", "four", "", "val"),
    ("5.png", "five", "a", "test"),
]


@pytest.mark.parametrize("is_large", [False, True])
def test_rows_are_counted_by_image(folder: Path, large: Callable[[], None], is_large: bool) -> None:
    if is_large:
        large()
    write_csv(folder, TABLE, HEADER)
    config = csv_config(folder, split_column="half", max_broken=0.5)
    summary = recall_index(config).summary
    fault = RowFault(config.path, 5, "3.png", "column 'caption' is empty", "train")
    assert summary == RowSummary(
        split_counts=Counter({"train": 2, "validation": 1, "test": 1}),
        label_counts=Counter({"a": 2, "b": 1, None: 1}),
        same_images=[("1.png", "./1.png")],
        skipped_rows=[fault],
    )
    assert summary.num_samples == sum(summary.label_counts.values()) == 4


@pytest.mark.parametrize("is_large", [False, True])
def test_a_table_with_too_many_rows_to_skip_has_none(
    folder: Path, large: Callable[[], None], is_large: bool
) -> None:
    if is_large:
        large()
    write_csv(folder, TABLE, HEADER)
    with pytest.raises(UserError, match="^1 of 3 training rows cannot be used.*line 5, column"):
        recall_index(csv_config(folder, split_column="half", max_broken=0.0))
