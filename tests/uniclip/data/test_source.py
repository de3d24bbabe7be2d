"""Every source of data implements the interface."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest

from uniclip import data
from uniclip.augmentation.transform import encode_as_vector
from uniclip.config import DATA
from uniclip.data.source import DataSource
from uniclip.errors import UserError

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
