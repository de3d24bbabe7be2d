"""A CSV data set of 40 images with captions and labels."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.helpers.csv_data import write_csv


@pytest.fixture
def folder(tmp_path):
    """Return a folder with data.csv and its images; the red of image i is 6 i."""
    for i in range(40):
        Image.new("RGB", (30 + i, 20), (i * 6, 10, 0)).save(tmp_path / f"{i}.png")
    write_csv(tmp_path, [(f"{i}.png", f"picture {i}, a test", "ab"[i % 2]) for i in range(40)])
    return tmp_path
