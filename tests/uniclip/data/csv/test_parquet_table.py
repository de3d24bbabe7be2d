"""A Parquet file as the table of images: the samples of the same table as CSV."""

from __future__ import annotations

import csv

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from tests.helpers.csv_data import csv_config
from uniclip import data
from uniclip.data.csv import notes, parquet_table
from uniclip.data.csv.table import detect_format
from uniclip.errors import UserError


def write_parquet(folder, name: str = "data.parquet", **columns) -> str:
    """Write the folder's CSV, and more columns, as Parquet in two row groups; return its path."""
    with open(folder / "data.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    values = {key: [row[key] for row in rows] for key in rows[0]}
    table = pyarrow.table({**values, **{k: [v] * len(rows) for k, v in columns.items()}})
    parquet.write_table(table, folder / name, row_group_size=25)
    return str(folder / name)


def test_samples_are_those_of_the_same_table_as_csv(folder, monkeypatch):
    monkeypatch.setattr(parquet_table, "BATCH_ROWS", 7)
    path = write_parquet(folder, thumbnail=b"bytes", number=3)
    assert {"picture", "caption", "number"} <= set(detect_format(path, None, ()).header)
    assert "thumbnail" not in detect_format(path, None, ()).header
    config = csv_config(folder, path=path)
    for name in data.SPLIT_NAMES:
        expected = data.open_split(csv_config(folder), name)
        split = data.open_split(config, name)
        assert np.array_equal(split.ids, expected.ids)
        assert split.captions == expected.captions
    assert split.name_image(0).startswith(f"{path} line ")


def test_a_plan_says_that_it_is_parquet(folder):
    config = csv_config(folder, path=write_parquet(folder))
    (columns,) = notes.recall_index(config).tables
    assert list(notes._describe_format(columns)) == [f"{config.path} is read as Parquet"]


def test_what_cannot_be_read_is_one_line(folder):
    path = write_parquet(folder)
    with pytest.raises(UserError, match="is a Parquet file, without separators"):
        data.open_split(csv_config(folder, path=path, separator="tab"), "train")
    with pytest.raises(UserError, match="line 0: there is no column 'photo'"):
        data.open_split(csv_config(folder, path=path, image_column="photo"), "train")
    content = (folder / "data.parquet").read_bytes()
    (folder / "data.parquet").write_bytes(content[:-20])
    with pytest.raises(UserError, match="data.parquet cannot be read as Parquet"):
        data.open_split(csv_config(folder, path=path), "train")
