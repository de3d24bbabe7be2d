"""Rows that cannot be used: how many are skipped, and how errors name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.csv_data import csv_config, write_csv
from uniclip.data.csv.faults import (
    MAX_LISTED,
    RowFault,
    check_faults,
    check_held_out_faults,
    list_faults,
)
from uniclip.data.csv.rows import read_index
from uniclip.errors import UserError


def broken_rows(num_rows: int) -> list[tuple[str, str, str]]:
    """Return rows that name no image."""
    return [("", f"no path {i}", "") for i in range(num_rows)]


@pytest.mark.parametrize(("num_broken", "max_broken"), [(1, 0.01), (2, 0.2), (40, 1.0)])
def test_training_rows_are_skipped_up_to_the_limit(
    folder: Path, num_broken: int, max_broken: float
) -> None:
    good_rows = [(f"{i}.png", f"text {i}", "") for i in range(40)]
    write_csv(folder, [*good_rows, *broken_rows(num_broken)])
    index = read_index(csv_config(folder, max_broken=max_broken))
    assert len(index.samples) == 40
    assert [row.line for row in index.skipped_rows] == list(range(42, 42 + num_broken))


@pytest.mark.parametrize(("num_broken", "max_broken"), [(1, 0), (2, 0.01), (20, 0.2)])
def test_more_than_the_limit_are_one_line(folder: Path, num_broken: int, max_broken: float) -> None:
    good_rows = [(f"{i}.png", f"text {i}", "") for i in range(40)]
    write_csv(folder, [*good_rows, *broken_rows(num_broken)])
    with pytest.raises(UserError, match=rf"^{num_broken} of \d+ training rows cannot be .*max_br"):
        read_index(csv_config(folder, max_broken=max_broken))


def test_all_held_out_rows_that_cannot_be_used_are_listed(folder: Path) -> None:
    words = ["train"] * 10 + ["val"] * 3 + ["test"] * 3
    table = [(f"{i}.png", f"text {i}", word) for i, word in enumerate(words)]
    write_csv(folder, table, ("picture", "caption", "split"))
    with open(folder / "data.csv", "a") as stream:
        stream.write("20.png,,val\n21.png,\u3000,test\ngone.png,a,test\n22.png,,train\n")
    with pytest.raises(UserError, match="^3 validation or test rows cannot be used: ") as error:
        read_index(csv_config(folder, label_column=None, split_column="split", max_broken=1.0))
    assert all(f"line {line}," in str(error.value) for line in (18, 19, 20))
    assert "line 21" not in str(error.value)


def make_faults(num_faults: int) -> list[RowFault]:
    """Return empty captions on the lines from 2 on."""
    return [RowFault("t.csv", i + 2, f"{i}.png", "it is empty") for i in range(num_faults)]


def test_the_limit_is_a_fraction_of_all_training_rows(tmp_path: Path) -> None:
    """Two of ten rows are a fifth; two of nine are more."""
    config = csv_config(tmp_path, max_broken=0.2)
    check_faults(config, make_faults(2), lambda _: "train", 8)
    with pytest.raises(UserError) as error:
        check_faults(config, make_faults(2), lambda _: "train", 7)
    assert str(error.value) == (
        "2 of 9 training rows cannot be used, more than data.max_broken=0.2 allows: t.csv line 2, "
        "it is empty; t.csv line 3, it is empty; fix or remove these rows, or raise "
        "data.max_broken"
    )


def test_no_row_that_is_held_out_may_be_skipped(tmp_path: Path) -> None:
    config = csv_config(tmp_path, max_broken=1.0)
    faults = make_faults(3)
    with pytest.raises(UserError) as error:
        check_faults(config, faults, lambda row: "test" if row.line == 3 else "train", 100)
    assert str(error.value) == (
        "1 validation or test row cannot be used: t.csv line 3, it is empty; fix or remove it"
    )
    check_held_out_faults([])
    with pytest.raises(UserError, match="^3 validation or test rows .*; fix or remove these rows$"):
        check_held_out_faults(faults)


def test_the_first_rows_are_listed_and_the_others_counted() -> None:
    assert list_faults(make_faults(3), 1) == "t.csv line 2, it is empty; and 2 more"
    assert "more" not in list_faults(make_faults(MAX_LISTED))
    text = list_faults(make_faults(MAX_LISTED + 5))
    assert text.endswith(f"t.csv line {MAX_LISTED + 1}, it is empty; and 5 more")
