"""Values that are computed once and kept in the cache folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from uniclip.io.memo import disk_memoize, get_cache_folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test."""
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_value_is_computed_once(cache: Path) -> None:
    calls: list[int] = []

    def compute() -> dict[str, int]:
        calls.append(1)
        return {"count": len(calls)}

    assert get_cache_folder() == cache
    assert [disk_memoize("kind", "key", compute) for _ in range(3)] == [{"count": 1}] * 3
    assert disk_memoize("kind", "other", compute) == {"count": 2}


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_is_computed_again(cache: Path, damage: bytes) -> None:
    disk_memoize("kind", "key", lambda: 1)
    path = cache / "kind" / "key.json"
    path.write_bytes(damage)
    assert disk_memoize("kind", "key", lambda: 2) == 2
    assert path.read_bytes() == b"2"


def test_a_cache_that_cannot_be_written_is_ignored(cache: Path) -> None:
    cache.write_text("a file in the place of the folder")
    assert disk_memoize("kind", "key", lambda: 3) == 3
