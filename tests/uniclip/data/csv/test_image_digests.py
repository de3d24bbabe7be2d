"""Digests of the images of large tables: those of small ones, in bounded memory."""

from __future__ import annotations

import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.csv_data import csv_config, write_csv
from uniclip import data
from uniclip.data.csv import content, image_digests, packed_index
from uniclip.data.csv.split import PackedCsvSplit
from uniclip.errors import DataChangedError, UserError


@pytest.fixture
def old_images(folder: Path) -> Path:
    """A table of 40 images, none of which may change unseen."""
    for path in folder.glob("*.png"):
        os.utime(path, (1, 1))
    return folder


def test_the_digest_is_that_of_the_same_table_in_memory(
    old_images: Path, large: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = csv_config(old_images, verify=True)
    expected = data.fingerprint(config)
    digests = data.open_split(config, "train").image_digests
    large()
    for size in (3, 7, 1000):
        monkeypatch.setattr(image_digests, "CHUNK_SIZE", size)
        assert data.fingerprint(config) == expected
    split = data.open_split(config, "train")
    assert isinstance(split, PackedCsvSplit)
    assert list(split.image_digests) == list(digests)
    assert list(split.image_digests[1:3]) == list(digests[1:3])


def test_the_images_of_both_tables_count(
    old_images: Path, tmp_path: Path, large: Callable[[], None]
) -> None:
    other = Path(shutil.copytree(old_images, tmp_path / "other"))
    config = csv_config(old_images, verify=True, test_path=str(other / "data.csv"))
    expected = data.fingerprint(config)
    large()
    assert data.fingerprint(config) == expected
    shutil.copy(other / "4.png", other / "3.png")
    assert data.fingerprint(config) != expected


def test_only_images_that_changed_are_read_again(
    old_images: Path, large: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    large()
    monkeypatch.setattr(image_digests.file_digests, "MIN_AGE_SECONDS", -1.0)
    config = csv_config(old_images, verify=True)
    first = data.fingerprint(config)
    read, digest_file = [], image_digests.digest_file
    monkeypatch.setattr(
        image_digests, "digest_file", lambda path: read.append(path.name) or digest_file(path)
    )
    assert data.fingerprint(config) == first
    assert read == []
    shutil.copy2(old_images / "4.png", old_images / "3.png")
    assert data.fingerprint(config) != first
    assert read == ["3.png"]
    (old_images / "3.png").unlink()
    index = packed_index.open_index(config)
    stored = [d for name in data.SPLIT_NAMES for d in image_digests.read_digests(index, name)]
    assert stored.count(content.MISSING_IMAGE) == 1


def test_an_image_that_changes_after_the_split_was_opened_is_refused(
    old_images: Path, large: Callable[[], None]
) -> None:
    large()
    split = data.open_split(csv_config(old_images, verify=True), "train")
    split.load_pixels(np.array([0]))
    shutil.copy2(old_images / "39.png", split.image_paths[1])
    with pytest.raises(DataChangedError, match="has changed since the plan; run again"):
        split.load_pixels(np.array([1]))


def test_missing_images_are_found_before_training(
    old_images: Path, large: Callable[[], None]
) -> None:
    large()
    config = csv_config(old_images, verify=True)
    train, test = (data.open_split(config, name) for name in ("train", "test"))
    Path(train.image_paths[0]).unlink()
    data.fingerprint(config)  # one is allowed
    with pytest.raises(UserError, match=rf"1 of \d+ .* there is no image {train.image_paths[0]}"):
        data.fingerprint(csv_config(old_images, verify=True, max_broken=0.0))
    Path(test.image_paths[0]).unlink()
    with pytest.raises(UserError, match="1 validation or test row cannot be used: .* no image"):
        data.fingerprint(config)


def test_damaged_records_are_written_again(old_images: Path, large: Callable[[], None]) -> None:
    large()
    index = packed_index.open_index(csv_config(old_images, verify=True))
    expected = list(image_digests.read_digests(index, "train"))
    (path,) = index.folder.parent.glob("*-images-*/train.npy")
    path.write_bytes(path.read_bytes()[:-5])
    assert list(image_digests.read_digests(index, "train")) == expected
    assert [p.name for p in path.parent.iterdir()] == ["train.npy"]


def test_memory_does_not_grow_with_the_table(
    folder: Path, large: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    large()
    monkeypatch.setattr(image_digests, "CHUNK_SIZE", 100)
    peaks = []
    # Made before memory is measured: pathlib interns names, and Python's table of them grows.
    images = [folder / f"a long name of an image, {i}.png" for i in range(2000)]
    for num_images in (500, 2000):
        for i, image in enumerate(images[:num_images]):
            image.write_bytes(b"%d" % i)
        write_csv(folder, [(image.name, "x", "a") for image in images[:num_images]])
        index = packed_index.open_index(csv_config(folder, verify=True))
        tracemalloc.start()
        image_digests.digest_image_contents(index)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
