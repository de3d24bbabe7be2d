"""OpenMoji as a data source: fingerprint, and missing packages."""

from __future__ import annotations

import json

import pytest

from uniclip import data
from uniclip.config import OpenmojiData
from uniclip.data.openmoji import source
from uniclip.errors import UserError


def test_the_fingerprint_reads_no_file_and_depends_on_the_size(tmp_path, monkeypatch):
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path))
    fingerprints = [data.fingerprint(OpenmojiData(image_size=s)) for s in (32, 64)]
    assert fingerprints[0] != fingerprints[1]
    assert json.loads(json.dumps(fingerprints[0])) == fingerprints[0]
    assert not list(tmp_path.iterdir())


def test_missing_packages_give_the_pip_command(monkeypatch):
    assert data.describe_missing(OpenmojiData()) is None
    monkeypatch.setattr(source, "get_library_version", lambda n: "absent" if n == "emoji" else "1")
    assert data.describe_missing(OpenmojiData()) == "pip install emoji"
    with pytest.raises(UserError, match="pip install emoji"):
        data.open_split(OpenmojiData(), "train")
    with pytest.raises(UserError, match="validation"):
        data.open_split(OpenmojiData(), "validate")
