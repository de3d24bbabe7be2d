"""Images by their row: the bytes that were written, in any process, if no file has changed."""

from __future__ import annotations

import os
import pickle
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from tests.helpers.embedded_data import embedded_config, make_rows, make_table
from tests.helpers.shards import encode_image
from uniclip.data.huggingface.embedded_images import EmbeddedImages
from uniclip.data.huggingface.index import open_index
from uniclip.errors import DataChangedError
from uniclip.io.rgb_image import UnreadableImageError


def open_images(path: str, **changes) -> EmbeddedImages:
    return open_index(embedded_config(path, **changes)).open_images()


@pytest.mark.parametrize("form", ["saved", "saved_dict", "hub_folder"])
def test_every_row_is_the_image_that_was_written(form, request):
    images = open_images(request.getfixturevalue(form))
    order = np.random.default_rng(0).permutation(60).tolist()
    numbers = range(60)
    if form == "hub_folder":
        numbers = [*range(40, 60), *range(40)]  # by name: the test split comes first
    assert [images.read(row) for row in order] == [encode_image(numbers[row]) for row in order]
    copy = pickle.loads(pickle.dumps(images))
    assert copy.read(7) == images.read(7)


def test_rows_are_named_by_file(saved, hub_folder):
    assert open_images(saved).name_row(31) == f"{saved}/data-00001-of-00002.arrow row 2"
    images = open_images(hub_folder)
    assert images.name_row(59) == f"{hub_folder}/data/train-00001-of-00002.parquet row 20"
    assert images.locate(59)[1:] == (19, None)


def test_forked_processes_read_for_themselves(hub_folder):
    images = open_images(hub_folder)
    images.read(3)
    with get_context("fork").Pool(2) as pool:
        contents = pool.map(images.read, range(20))
    assert contents == [encode_image(n) for n in range(40, 60)]


def test_row_groups_in_memory_are_bounded(hub_folder, monkeypatch):
    """A row group is read once while it fits into memory; one is kept, however large."""
    num_read = 0
    read_row_group = parquet.ParquetFile.read_row_group

    def count(self, *args, **options):
        nonlocal num_read
        num_read += 1
        return read_row_group(self, *args, **options)

    images = open_images(hub_folder)
    monkeypatch.setattr(parquet.ParquetFile, "read_row_group", count)
    for row in (*range(60), *range(60)):
        images.read(row)
    assert num_read == 10, "2 files of 10 rows and 2 of 20 in groups of 7"
    images.limit(1)
    num_read = 0
    for row in (*range(14), *range(14)):
        images.read(row)
        assert len(images._groups.images) == 1
    assert num_read == 6


def test_a_row_without_an_image_in_a_parquet_file_cannot_be_read(tmp_path):
    rows = make_rows(range(8))
    rows["image"][2], rows["image"][5] = None, {"bytes": None, "path": "x.png"}
    parquet.write_table(make_table(rows), tmp_path / "a.parquet")
    images = open_images(str(tmp_path / "a.parquet"), max_broken=0.5)
    for row in (2, 5):
        with pytest.raises(UnreadableImageError, match="it has no bytes"):
            images.read(row)
    assert images.read(6) == encode_image(6)


@pytest.mark.parametrize("form", ["saved", "hub_folder"])
def test_changed_files_are_noticed(form, request):
    folder = request.getfixturevalue(form)
    images = open_images(folder)
    images.read(0)
    path = sorted(p for p in Path(folder).rglob("*") if p.suffix in (".arrow", ".parquet"))[0]
    os.utime(path, ns=(1, 1))
    with pytest.raises(DataChangedError, match=f"{path} has changed since it was indexed"):
        images.read(1)
    images = pickle.loads(pickle.dumps(images))
    path.unlink()
    with pytest.raises(DataChangedError, match="is gone"):
        images.read(1)
