"""A cache folder of its own, and shards that are written once."""

from __future__ import annotations

import pytest

from tests.helpers.shards import write_shards


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    """An empty cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("UNICLIP_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """The brace range of 4 shards with 120 samples together."""
    return write_shards(tmp_path_factory.mktemp("shards"), 120, 4)
