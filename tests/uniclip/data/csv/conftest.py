"""A CSV data set of 40 images with captions and labels, and the index of large tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.csv_data import write_csv
from uniclip.data.csv import index_writer, row_arrays, rows, sample_rows
from uniclip.data.text import packed_tokens


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with data.csv and its images; the red of image i is 6 i."""
    for i in range(40):
        Image.new("RGB", (30 + i, 20), (i * 6, 10, 0)).save(tmp_path / f"{i}.png")
    write_csv(tmp_path, [(f"{i}.png", f"picture {i}, a test", "ab"[i % 2]) for i in range(40)])
    return tmp_path


@pytest.fixture
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache folder."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("UNICLIP_CACHE", str(folder))
    return folder


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write and encode seven rows at once, so that small tables take several turns."""
    monkeypatch.setattr(row_arrays, "NUM_BUFFERED", 7)
    for module in (sample_rows, index_writer):
        monkeypatch.setattr(module, "PART_SIZE", 12)
    monkeypatch.setattr(packed_tokens, "CHUNK_SIZE", 7)


@pytest.fixture
def large(
    cache_folder: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """Return a function that makes every table a large one."""

    def make() -> None:
        monkeypatch.setattr(rows, "MAX_LOOKED_UP_BYTES", 10)

    return make
