"""The rows of a CSV file: captions, and errors that name the line."""

from __future__ import annotations

import pytest

from tests.helpers.csv_data import csv_config, write_csv
from uniclip import data
from uniclip.data.csv.rows import read_samples
from uniclip.errors import UserError


def test_rows_with_one_path_are_captions_of_one_image(folder):
    write_csv(folder, [("1.png", "one", "a"), ("2.png", "two", ""), ("1.png", "uno", "a")])
    samples = read_samples(csv_config(folder))
    assert [(s.captions, s.label) for s in samples] == [(["one", "uno"], "a"), (["two"], None)]
    assert data.open_split(csv_config(folder, label_column=None), "train").labels == {}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("1.png", "a", "a"), ("gone.png", "b", "a")], r"line 3, column 'picture'.*gone\.png"),
        ([("1.png", " ", "a")], r"line 2, column 'caption' is empty"),
        ([("", "text", "a")], r"line 2, column 'picture' is empty"),
        ([("1.png", "a", "a"), ("1.png", "b", "b")], r"line 3, column 'kind'.*line 2"),
        ([("1.png", "a")], r"line 2: 2 fields"),
        ([("1.png", "a", "b", "c")], r"line 2: 4 fields"),
        ([], r"no rows"),
    ],
)
def test_errors_of_rows_are_one_line(folder, rows, message):
    write_csv(folder, rows)
    with pytest.raises(UserError, match=message) as error:
        data.open_split(csv_config(folder), "train")
    assert "\n" not in str(error.value)


def test_a_missing_column_suggests_the_nearest_name(folder):
    with pytest.raises(UserError, match="line 1.*'captoin'.*did you mean caption"):
        data.open_split(csv_config(folder, caption_column="captoin"), "train")
    (folder / "data.csv").write_text("")
    with pytest.raises(UserError, match="empty"):
        data.open_split(csv_config(folder), "train")
    (folder / "data.csv").write_bytes(b"picture,caption,kind\n1.png,caf\xe9,a\n")
    with pytest.raises(UserError, match="UTF-8"):
        data.open_split(csv_config(folder), "train")
