"""Digests of values and files; versions of installed libraries."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import pytest

from uniclip.io import hashing
from uniclip.io.hashing import digest, digest_file, digest_text, to_canonical_json


def test_canonical_json_is_one_spelling() -> None:
    assert (
        to_canonical_json({"b": [1, 2.5, None], "a": "\u00e9"})
        == '{"a":"\\u00e9","b":[1,2.5,null]}'
    )
    with pytest.raises(ValueError, match="JSON"):
        to_canonical_json({"x": float("nan")})
    assert digest({}, 8) == digest({})[:8]


def test_a_digest_is_that_of_the_canonical_json() -> None:
    value = {"b": 1.5, "a": ["\u00e9", None]}
    assert digest(value) == blake2b(to_canonical_json(value).encode()).hexdigest()[:16]
    assert digest(value, 32) == digest_text(to_canonical_json(value), 32)


def test_the_digest_of_a_file_is_that_of_its_content(tmp_path: Path) -> None:
    content = b"abc" * 1_000_000
    (tmp_path / "file").write_bytes(content)
    assert digest_file(tmp_path / "file") == blake2b(content, digest_size=16).hexdigest()


def test_a_missing_library_has_a_version_of_its_own() -> None:
    assert hashing.get_library_version("numpy")[0].isdigit()
    assert hashing.get_library_version("no-such-distribution-at-all") == "absent"
