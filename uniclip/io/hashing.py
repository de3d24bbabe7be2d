"""Digests of values and files, and the versions of installed libraries that enter them."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def to_canonical_json(value: Any) -> str:
    """Return `value` as JSON in one spelling: sorted keys, no spaces, ASCII, no NaN."""
    return _ENCODER.encode(value)


def digest(value: Any, digits: int = 16) -> str:
    """Return the first hex `digits` of the blake2b digest of the canonical JSON of `value`."""
    return digest_text(to_canonical_json(value), digits)


def digest_text(text: str, digits: int = 16) -> str:
    """Return the first hex `digits` of the blake2b digest of `text` in UTF-8."""
    return blake2b(text.encode()).hexdigest()[:digits]


def digest_file(path: Path) -> str:
    """Return the blake2b digest of the content of a file, of any size, as 32 hex digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, lambda: blake2b(digest_size=16)).hexdigest()


def hash_sample_id(sample_name: str) -> int:
    """Return the 64-bit id of a sample from its name."""
    return int.from_bytes(
        blake2b(sample_name.encode(), digest_size=8, person=b"sample").digest(), "little"
    )


@cache
def get_library_version(name: str) -> str:
    """Return the installed version of a distribution without importing it, or "absent"."""
    from importlib.metadata import PackageNotFoundError, version  # here: it imports `email`

    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
