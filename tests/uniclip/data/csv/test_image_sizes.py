"""Images that are smaller than the encoder's input are said, from the headers of some."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.helpers.csv_data import csv_config
from uniclip.data.csv import image_sizes
from uniclip.data.csv.image_sizes import describe_small_images
from uniclip.data.csv.rows import read_index


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path_factory.mktemp("cache")))


def test_small_images_are_counted(folder):
    config = csv_config(folder)
    index = read_index(config)
    assert describe_small_images(config, index, 20) == []
    (sentence,) = describe_small_images(config, index, 21)
    assert sentence.startswith("40 are smaller than the 21 px of model.image.image_size")
    assert "(median of the shorter side: 20 px)" in sentence


def test_of_many_images_some_are_looked_at_and_unreadable_ones_are_left_out(folder, monkeypatch):
    monkeypatch.setattr(image_sizes, "NUM_HEADERS", 10)
    for i in range(0, 40, 4):
        Image.new("RGB", (500, 300)).save(folder / f"{i}.png")
    (folder / "0.png").write_bytes(b"no image")
    (folder / "4.png").write_bytes(b"")
    config = csv_config(folder)
    index = read_index(config)
    (sentence,) = describe_small_images(config, index, 301)
    assert "images looked at" in sentence
