"""Copies of test images among shards: found once a pass has decoded all images."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sweeps.cli.main import main
from tests.helpers.shards import shards_config, write_tar
from tests.helpers.small_runs import tiny
from uniclip import data, evaluate
from uniclip.data.webdataset import source, thumbnails
from uniclip.data.webdataset.assignment import assign_rows
from uniclip.data.webdataset.index import open_index
from uniclip.data.webdataset.split import WebdatasetSplit
from uniclip.errors import UserError
from uniclip.evaluate import _find_train_thumbnails
from uniclip.evaluate.checks import near_duplicates
from uniclip.evaluate.checks.shard_thumbnails import find_training_thumbnails, make_thumbnails


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))


def draw_photo(number: int) -> Image.Image:
    coarse = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC)


def write_photos(folder, num_samples: int = 40) -> str:
    """Write a shard of photographs, of which the last cannot be read."""
    members = []
    for n in range(num_samples):
        stream = io.BytesIO()
        draw_photo(n).save(stream, "JPEG", quality=90)
        key = f"{n:09d}"
        content = b"no image" if n == num_samples - 1 else stream.getvalue()
        members += [(f"{key}.jpg", content), (f"{key}.txt", f"photo {n}".encode())]
    return str(write_tar(folder / "0.tar", members))


def test_copies_of_test_images_are_found_once_the_images_are_hashed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(thumbnails, "CHUNK_SIZE", 16)
    path = write_photos(tmp_path)
    config = shards_config(path)
    assert find_training_thumbnails(config) is None
    index = open_index(config)
    assert any("leakage is unchecked" in s for s in source.describe_content(config, tiny().model))
    assert main(["data", "hash", f"data.path={path}"]) == 0
    assert "40 images" in capsys.readouterr().out
    assert not any("leakage" in s for s in source.describe_content(config, tiny().model))
    filtered = replace(config, where="caption != 'photo 3'")
    open_index(filtered)
    texts = source.describe_content(filtered, tiny().model)
    assert any(f"{filtered.where!r} leaves" in s for s in texts)
    assert not any("leakage" in s for s in texts), "conditions share the images"
    train = _find_train_thumbnails(config)()
    rows = assign_rows(config, index)["train"]
    assert train.shape == (len(rows), 8, 9)
    num_filtered = len(data.open_split(filtered, "train"))
    assert len(_find_train_thumbnails(filtered)()) == num_filtered <= len(train)
    unreadable = np.flatnonzero(rows == 39)
    assert not train[unreadable].any()
    copied, held_out = int(rows[3]), int(assign_rows(config, index)["test"][0])
    test = [
        near_duplicates.compute_thumbnail(draw_photo(n).resize((200, 200)))
        for n in (copied, held_out, 5_000)
    ]
    verdicts = near_duplicates.find_duplicates(np.stack(test), train)
    assert verdicts.tolist() == [near_duplicates.DUPLICATE, *[near_duplicates.DISTINCT] * 2]


def test_images_of_the_same_name_in_two_sources_are_hashed_each(tmp_path):
    first, second = (
        write_photos(tmp_path / name, number) for name, number in (("a", 30), ("b", 50))
    )
    config = shards_config(f"{first}::{second}")
    assert main(["data", "hash", f"data.path={first}::{second}"]) == 0
    assert not any("leakage" in s for s in source.describe_content(config, tiny().model))
    index = open_index(config)
    rows = assign_rows(config, index)["train"]
    assert len(np.unique(index.ids[rows])) == len(rows)
    train = find_training_thumbnails(config)()
    copied = int(np.flatnonzero(rows >= 30)[0])
    test = near_duplicates.compute_thumbnail(draw_photo(int(rows[copied]) - 30).resize((200, 200)))
    verdicts = near_duplicates.find_duplicates(test[None], train[[copied]])
    assert verdicts.tolist() == [near_duplicates.DUPLICATE]


def test_an_interrupted_pass_continues(tmp_path, monkeypatch):
    monkeypatch.setattr(thumbnails, "CHUNK_SIZE", 16)
    config = shards_config(write_photos(tmp_path))
    assert make_thumbnails(config) == 40
    index = open_index(config)
    damaged = thumbnails._name_chunk(index, 1)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert thumbnails.list_missing_chunks(index) == [1]
    done = []
    make_thumbnails(config, lambda number, total: done.append((number, total)))
    assert done == [(3, 3)]
    assert find_training_thumbnails(config) is not None


def test_only_files_that_cannot_be_written_are_reported_as_such(tmp_path, monkeypatch):
    config = shards_config(write_photos(tmp_path, num_samples=3))
    folder = thumbnails._name_chunk(open_index(config), 0).parent
    folder.write_bytes(b"a file where the folder belongs")
    with pytest.raises(UserError, match="cannot be written"):
        make_thumbnails(config)

    def fail(split, row):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(WebdatasetSplit, "load_image", fail)
    with pytest.raises(OSError, match="Input/output error"):
        make_thumbnails(config)


def test_labelled_images_are_training_images(tmp_path, capsys):
    path, folder = write_photos(tmp_path), tmp_path / "labelled"
    for number, key in ((100, "cat"), (101, "cat"), (102, "dog")):
        (folder / key).mkdir(parents=True, exist_ok=True)
        draw_photo(number).save(folder / key / f"{number}.png")
    config = shards_config(path, labelled_path=str(folder))
    open_index(config)
    make_thumbnails(shards_config(path))
    assert _find_train_thumbnails(config) is None
    assert any("data.labelled_path=" in s for s in source.describe_content(config, tiny().model))
    words = [f"data.path={path}", f"data.labelled_path={folder}"]
    assert main(["data", "hash", *words]) == 0
    assert "43 images" in capsys.readouterr().out
    assert not any("leakage" in s for s in source.describe_content(config, tiny().model))
    train = _find_train_thumbnails(config)()
    assert len(train) == len(data.open_split(config, "train"))
    test = np.stack([near_duplicates.compute_thumbnail(draw_photo(n)) for n in (101, 5_000)])
    verdicts = near_duplicates.find_duplicates(test, train)
    assert verdicts.tolist() == [near_duplicates.DUPLICATE, near_duplicates.DISTINCT]


def test_test_images_of_shards_are_searched(tmp_path):
    path = write_photos(tmp_path)
    config = shards_config(path)
    index = open_index(config)
    run_config = replace(tiny(), data=config)
    assert evaluate.find_near_duplicates("webdataset", run_config, tmp_path / "store") is None
    make_thumbnails(config)
    verdicts = evaluate.find_near_duplicates("webdataset", run_config, tmp_path / "store")
    rows = assign_rows(config, index)["test"].tolist()
    assert len(verdicts) == len(rows) > 0
    expected = [near_duplicates.UNDECIDABLE if r == 39 else near_duplicates.DISTINCT for r in rows]
    assert verdicts.tolist() == expected
