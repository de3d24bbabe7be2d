"""Data sets of 60 rows in each of the forms that are read."""

from __future__ import annotations

import pytest

from tests.helpers.embedded_data import (
    make_rows,
    make_table,
    save_dict_to_disk,
    save_to_disk,
    write_hub_folder,
)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    """The user's cache folder of a test."""
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def saved(tmp_path):
    """A folder of `Dataset.save_to_disk`, in two files of record batches of 9 rows."""
    return save_to_disk(tmp_path / "saved", make_table(make_rows(range(60))), 2, 9)


@pytest.fixture
def saved_dict(tmp_path):
    """A folder of `DatasetDict.save_to_disk` with 40 rows for training and 20 for testing."""
    tables = {
        "train": make_table(make_rows(range(40))),
        "test": make_table(make_rows(range(40, 60))),
    }
    return save_dict_to_disk(tmp_path / "dict", tables)


@pytest.fixture
def hub_folder(tmp_path):
    """The same rows as Parquet files in row groups of 7 rows."""
    tables = {
        "train": make_table(make_rows(range(40))),
        "test": make_table(make_rows(range(40, 60))),
    }
    return write_hub_folder(tmp_path / "hub", tables, 7)
