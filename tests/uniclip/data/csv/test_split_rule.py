"""The split of the rows of a table: declared, by a hash, or that of a second table."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.csv_data import csv_config, write_csv
from uniclip import data
from uniclip.data.csv.rows import read_samples
from uniclip.errors import UserError


def write_split(folder, words, header="split"):
    rows = [(f"{i}.png", f"text {i}", word) for i, word in enumerate(words)]
    write_csv(folder, rows, ("picture", "caption", header))


def names_of(folder, split_name, **changes):
    config = csv_config(folder, label_column=None, **changes)
    return list(data.open_split(config, split_name).sample_names)


def test_a_column_may_name_the_splits(folder):
    words = ["train", "Training", "restval", "VAL", "valid", "validation", "dev", "TEST", "testing"]
    write_split(folder, words)
    found = {name: names_of(folder, name, split_column="split") for name in data.SPLIT_NAMES}
    assert found == {
        "train": ["0.png", "1.png", "2.png"],
        "validation": ["3.png", "4.png", "5.png", "6.png"],
        "test": ["7.png", "8.png"],
    }


def test_validation_is_held_out_if_no_row_names_it(folder):
    write_split(folder, ["train"] * 30 + ["test"] * 10)
    validation = names_of(folder, "validation", split_column="split")
    train = names_of(folder, "train", split_column="split")
    assert 0 < len(validation) < 10
    assert sorted([*train, *validation]) == sorted(f"{i}.png" for i in range(30))
    assert names_of(folder, "test", split_column="split") == [f"{i}.png" for i in range(30, 40)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["train", "holdout"],
            "line 3, column 'split': 'holdout' is not a split; write train, val",
        ),
        (["train", " "], "line 3, column 'split': it is empty"),
    ],
)
def test_an_unknown_word_of_a_split_is_refused_with_its_line(folder, words, message):
    write_split(folder, words)
    with pytest.raises(UserError, match=message):
        read_samples(csv_config(folder, label_column=None, split_column="split"))


def write_test_table(folder):
    """Write a table of test images into a folder of its own, with another separator."""
    (folder / "other").mkdir()
    for i in range(30, 40):
        (folder / f"{i}.png").rename(folder / "other" / f"{i}.png")
    path = folder / "other/test.csv"
    path.write_text("caption;picture\n" + "".join(f"test {i};{i}.png\n" for i in range(30, 40)))
    return str(path)


def test_a_second_table_is_the_test_split(folder):
    write_csv(folder, [(f"{i}.png", f"text {i}", "") for i in range(30)])
    test_path = write_test_table(folder)
    test = data.open_split(csv_config(folder, label_column=None, test_path=test_path), "test")
    assert list(test.sample_names) == [f"{i}.png" for i in range(30, 40)]
    assert test.load_pixels(np.arange(10)).shape == (10, 3, 16, 16)
    held_in = [
        n for name in ("train", "validation") for n in names_of(folder, name, test_path=test_path)
    ]
    assert len(held_in) == 30, "test_fraction holds nothing out"


def test_no_image_need_be_held_out_for_testing(folder):
    assert names_of(folder, "test", test_fraction=0) == []
    assert len(names_of(folder, "train", test_fraction=0)) > 30
