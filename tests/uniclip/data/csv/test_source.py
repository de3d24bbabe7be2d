"""A CSV file as a data source: fingerprint, and a missing file."""

from __future__ import annotations

import json
import os

import pytest

from tests.helpers.csv_data import csv_config
from uniclip import data
from uniclip.config import CsvData
from uniclip.errors import UserError


def test_the_fingerprint_is_the_content_of_the_table_and_reads_no_image(folder):
    first = data.fingerprint(csv_config(folder))
    assert json.loads(json.dumps(first)) == first
    (folder / "3.png").write_bytes(b"x")
    os.utime(folder / "data.csv")
    assert data.fingerprint(csv_config(folder)) == first
    assert data.fingerprint(csv_config(folder, label_column=None)) != data.fingerprint(
        csv_config(folder)
    )


def test_a_missing_file_is_described(tmp_path):
    assert "data.path=" in data.describe_missing(CsvData())
    assert "nothing.csv" in data.describe_missing(CsvData(path=str(tmp_path / "nothing.csv")))
    with pytest.raises(UserError, match="data.path="):
        data.open_split(CsvData(), "train")
