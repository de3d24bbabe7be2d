"""The rows of a CSV file: captions, and errors that name the line."""

from __future__ import annotations

import os

import pytest

from tests.helpers.csv_data import csv_config, write_csv
from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.config import CsvData
from uniclip.data.csv import notes, rows
from uniclip.data.csv.rows import is_blank, read_index, read_samples
from uniclip.errors import UserError
from uniclip.io import file_digests


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


@pytest.mark.parametrize("text", ["", "  ", "\t", "\u00a0", "\u3000", "\u200b", "\ufeff \u200d"])
def test_blank_texts(text):
    assert is_blank(text)
    assert not is_blank(f"{text}猫")


def test_a_plan_reads_a_table_once_until_it_changes(folder, monkeypatch):
    config = csv_config(folder)
    monkeypatch.setattr(file_digests, "MIN_AGE_SECONDS", -1)
    first = rows.recall_index(config)
    assert rows.recall_index(config) is first
    assert rows.recall_index(csv_config(folder, test_fraction=0.1)) is not first
    write_csv(folder, [("1.png", "a", "a"), ("2.png", "b", "a")])
    assert len(rows.recall_index(config).samples) == 2


def test_images_of_a_large_table_are_not_looked_up_unless_they_are_verified(folder, monkeypatch):
    table = [(f"{i}.png", f"picture {i}", "a") for i in range(40)]
    write_csv(folder, [*table, (find_training_name(), "x", "a")])
    config = csv_config(folder, split_column=None)
    small = read_index(config)
    assert small.are_looked_up
    monkeypatch.setattr(rows, "MAX_LOOKED_UP_BYTES", 10)
    looked_up, stat = [], os.stat
    monkeypatch.setattr(rows.os, "stat", lambda p, **k: looked_up.append(str(p)) or stat(p, **k))
    large = read_index(config)
    assert not large.are_looked_up
    assert not any(path.endswith(".png") for path in looked_up)
    names = [sample.path for sample in small.samples]
    assert [s.path for s in large.samples] == [*names, find_training_name()]
    assert [large.get_split(s) for s in large.samples[:-1]] == [
        small.get_split(s) for s in small.samples
    ]
    monkeypatch.undo()
    monkeypatch.setattr(rows, "MAX_LOOKED_UP_BYTES", 10)
    assert any("not looked up" in s for s in notes.describe_index(config, tiny().model.text))


def find_training_name() -> str:
    """Return the name of an image that is in the training split, and is missing."""
    rule = rows.SplitRule(CsvData.validation_fraction, CsvData.test_fraction)
    return next(f"no{i}.png" for i in range(99) if rule.assign(f"no{i}.png") == "train")
