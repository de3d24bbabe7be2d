"""Rows and tables that contradict each other are refused."""

from __future__ import annotations

import pytest

from tests.helpers.csv_data import csv_config, write_csv
from uniclip.data.csv.rows import read_samples
from uniclip.errors import UserError


def test_an_image_is_in_one_split(folder):
    rows = [("1.png", "one", "train"), ("2.png", "two", "val"), ("./1.png", "uno", "test")]
    write_csv(folder, rows, ("picture", "caption", "split"))
    with pytest.raises(
        UserError, match="line 4, column 'split': ./1.png is 'test' here but 'train'"
    ):
        read_samples(csv_config(folder, label_column=None, split_column="split"))


def test_contradictions_of_the_test_table_are_refused(folder):
    rows = [(f"{i}.png", f"text {i}", word) for i, word in enumerate(["train", "test", "val"])]
    write_csv(folder, rows, ("picture", "caption", "split"))
    same = str(folder / "data.csv")
    with pytest.raises(UserError, match="name the same file"):
        read_samples(csv_config(folder, label_column=None, test_path=same))
    config = csv_config(folder, label_column=None, split_column="split", test_path=same)
    with pytest.raises(UserError, match="says test in some rows"):
        read_samples(config)
