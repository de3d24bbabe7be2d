"""Images are decoded once; broken ones are named each time until they are repaired."""

from __future__ import annotations

import io
import os
import time

import numpy as np
import pytest
from PIL import Image

from uniclip.io import image_check
from uniclip.io.image_check import ImageLocation, check_images

OLD = time.time() - 100


def save(path, pixels):
    Image.fromarray(pixels).save(path, "PNG")
    os.utime(path, (OLD, OLD))


@pytest.fixture
def locations(tmp_path, monkeypatch):
    """Ten images of noise; the third is cut off, the fifth white, the seventh missing."""
    monkeypatch.setattr(image_check, "MIN_AGE_SECONDS", 0.0)  # the files are new
    generator = np.random.default_rng(0)
    for i in range(10):
        save(tmp_path / f"{i}.png", generator.integers(0, 256, (20, 16, 3), dtype=np.uint8))
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:60])
    save(tmp_path / "4.png", np.full((9, 9, 3), 255, np.uint8))
    (tmp_path / "6.png").unlink()
    return [ImageLocation(f"image {i}", str(tmp_path / f"{i}.png")) for i in range(10)]


def count_decoded(monkeypatch):
    decoded = []
    examine = image_check._examine

    def examine_and_count(location, image_size):
        decoded.append(location.name)
        return examine(location, image_size)

    monkeypatch.setattr(image_check, "_examine", examine_and_count)
    return decoded


def test_all_findings_are_named(locations):
    findings = check_images(locations, 16)
    assert findings.num_images == 10
    assert [text.split(" cannot")[0] for text in findings.unreadable] == ["image 2", "image 6"]
    assert "no such file" in findings.unreadable[1]
    assert findings.one_color == ("image 4",)


def test_good_images_are_decoded_once_and_a_repair_is_seen(locations, tmp_path, monkeypatch):
    memory = tmp_path / "cache" / "memory"
    first = check_images(locations, 16, memory)
    assert first.unreadable_positions == (2, 6)
    assert not memory.exists(), "the caller decides"
    first.remember()
    decoded = count_decoded(monkeypatch)
    again = check_images(locations, 16, memory)
    assert (again.unreadable, again.one_color) == (first.unreadable, first.one_color)
    assert sorted(decoded) == ["image 2", "image 6"]
    assert (first.num_decoded, again.num_decoded) == (10, 2)
    save(tmp_path / "2.png", np.zeros((5, 5, 3), np.uint8))
    repaired = check_images(locations, 16, memory)
    repaired.remember()
    assert len(repaired.unreadable) == 1
    assert repaired.one_color == ("image 2", "image 4")
    decoded.clear()
    save(tmp_path / "8.png", np.zeros((5, 5, 3), np.uint8))
    assert check_images(locations, 16, memory).one_color == ("image 2", "image 4", "image 8")
    assert sorted(decoded) == ["image 6", "image 8"], "a changed file is decoded again"
    memory.write_bytes(b"damaged")
    assert check_images(locations, 16, memory).num_decoded == 10


def test_a_file_that_is_newer_than_its_timestamp_can_tell_is_not_remembered(
    locations, tmp_path, monkeypatch
):
    monkeypatch.setattr(image_check, "MIN_AGE_SECONDS", 1e9)
    check_images(locations, 16, tmp_path / "memory").remember()
    assert check_images(locations, 16, tmp_path / "memory").num_decoded == 10


def test_images_within_a_file_are_found_and_progress_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(image_check, "REPORT_SECONDS", 0.0)
    monkeypatch.setattr(image_check, "CHUNK_SIZE", 2)
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    content = stream.getvalue()
    (tmp_path / "shard").write_bytes(b"#" * 7 + content + content[:30])
    path = str(tmp_path / "shard")
    locations = [
        ImageLocation("first", path, 7, len(content)),
        ImageLocation("second", path, 7 + len(content), 30),
        ImageLocation("gone", str(tmp_path / "other"), 0, 30),
    ]
    reports = []
    findings = check_images(locations, 16, None, lambda *counts: reports.append(counts))
    assert findings.one_color == ("first",)
    assert [text.split()[0] for text in findings.unreadable] == ["second", "gone"]
    assert reports == [(2, 3), (3, 3)]
    assert check_images([], 16).num_images == 0
