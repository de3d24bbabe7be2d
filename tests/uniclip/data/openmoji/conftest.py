"""A cache folder with a small part of OpenMoji."""

from __future__ import annotations

import pytest

from tests.helpers.openmoji_subset import list_subset
from uniclip.data.openmoji import render


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Point the cache at an empty folder, and OpenMoji at the subset."""
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path))
    monkeypatch.setattr(render, "_list_emojis", list_subset)
    return tmp_path
