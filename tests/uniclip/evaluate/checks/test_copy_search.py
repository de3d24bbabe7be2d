"""Verdicts by embedding are cached by training data, set and model, and stored for reports."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers import dataset_trees
from tests.helpers.embedded_data import make_rows, make_table, save_to_disk
from tests.helpers.shards import write_tar
from tests.uniclip.evaluate.checks.test_contaminated_items import (
    draw_photo,
    write_training_images,
)
from tests.uniclip.evaluate.checks.test_embedding_copies import embed_colours
from tests.uniclip.evaluate.scoring.test_dataset_splits import build_config
from uniclip import data, evaluate
from uniclip.errors import UserError
from uniclip.evaluate.checks.copy_search import CopySearch, read_verdicts, write_verdicts
from uniclip.store import RunFolder
from uniclip.store.copy_searches import get_copies_path

NUM_IMAGES = 80


def test_a_mirrored_picture_is_found_once_for_all_its_captions(tmp_path: Path) -> None:
    section, photos = write_training_images(tmp_path / "train", 40)
    dataset_trees.WRITERS["flickr30k"](tmp_path / "sets")
    mirrored = draw_photo(photos[2]).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.save(tmp_path / "sets/flickr30k/12.jpg", quality=95)
    config = build_config(tmp_path / "sets", section)
    num_embedded: list[int] = []

    def embed(images: list[Image.Image]) -> np.ndarray:
        num_embedded.append(len(images))
        return np.nan_to_num(embed_colours(images))

    def search(name: str, weights_hash: str = "weights") -> Any:
        model: Any = SimpleNamespace(embed_images=embed)
        return evaluate.find_copies_by_embedding(
            name, config, CopySearch(model, "a model", weights_hash, tmp_path / "cache")
        )

    copies = search("flickr30k")
    assert (copies.verdicts == 1).tolist() == [True, False, False]
    assert copies.model == "a model"
    first_embedded = sum(num_embedded)
    again = search("flickr30k")
    assert sum(num_embedded) == first_embedded, "all is cached"
    assert again.calibration == copies.calibration
    order = search("flickr30k_order")
    assert order.verdicts.shape == (1,)
    search("flickr30k", "other weights")
    assert sum(num_embedded) == 2 * first_embedded
    assert search("openmoji") is None
    assert search("cifar10") is None, "it is not here"

    run = RunFolder(tmp_path / "run")
    write_verdicts(run, "flickr30k", "0123abcd", copies)
    stored = read_verdicts(run, "flickr30k", "0123abcd")
    assert stored is not None
    assert stored.verdicts.tolist() == copies.verdicts.tolist()
    assert (stored.calibration, stored.model) == (copies.calibration, "a model")
    assert read_verdicts(run, "flickr30k", "another") is None
    path = get_copies_path(run, "flickr30k", "0123abcd")
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "version": record["version"] - 1}))
    assert read_verdicts(run, "flickr30k", "0123abcd") is None, "of another version"
    path.write_text('{"verdicts": "many"}')
    with pytest.raises(UserError, match="flickr30k@0123abcd"):
        read_verdicts(run, "flickr30k", "0123abcd")


def draw_pair(number: int) -> Image.Image:
    """Return a photograph, or for odd numbers that of the number before, mirrored."""
    photo = draw_photo(number // 2)
    return photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if number % 2 else photo


def write_source(name: str, folder: Path) -> str:
    """Write the pairs as a user has them; return the path of the data."""
    files = {f"{n:05d}.png": draw_pair(n) for n in range(NUM_IMAGES)}
    contents = {}
    for file_name, image in files.items():
        stream = BytesIO()
        image.save(stream, "PNG")
        contents[file_name] = stream.getvalue()
    if name == "csv":
        for file_name, content in contents.items():
            (folder / file_name).write_bytes(content)
        lines = ["picture,caption", *(f"{file_name},number {file_name}" for file_name in files)]
        (folder / "data.csv").write_text("\n".join(lines))
        return str(folder / "data.csv")
    if name == "webdataset":
        captions = {n.replace("png", "txt"): f"number {n}".encode() for n in files}
        return str(write_tar(folder / "0.tar", sorted({**contents, **captions}.items())))
    columns = make_rows(range(NUM_IMAGES))
    columns["image"] = [{"bytes": content, "path": n} for n, content in contents.items()]
    return save_to_disk(folder / "saved", make_table(columns))


@pytest.mark.parametrize("name", ["csv", "webdataset", "huggingface"])
def test_the_test_split_of_the_training_data_is_searched(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test image is a copy if the other one of its pair is a training image."""
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "memo"))
    fractions = {"test_fraction": 0.2, "validation_fraction": 0.1, "image_size": 96}
    section = {"name": name, "path": write_source(name, tmp_path), **fractions}
    config = build_config(tmp_path, section)
    number_by_pixels = {
        np.asarray(draw_pair(n)).transpose(2, 0, 1).tobytes(): n for n in range(NUM_IMAGES)
    }
    numbers = {}
    for split_name in ("train", "test"):
        split = data.open_split(config.data, split_name)
        pixels = split.load_pixels(np.arange(len(split)))
        numbers[split_name] = [number_by_pixels[image.tobytes()] for image in pixels]
    is_copy = [number ^ 1 in numbers["train"] for number in numbers["test"]]
    assert 0 < sum(is_copy) < len(is_copy)

    model: Any = SimpleNamespace(embed_images=lambda images: np.nan_to_num(embed_colours(images)))
    search = CopySearch(model, "a model", "weights", tmp_path / "cache")
    copies = evaluate.find_copies_by_embedding(name, config, search)
    assert copies is not None
    assert (copies.verdicts == 1).tolist() == is_copy
    for other in {"csv", "webdataset", "huggingface", "mix", "scenes"} - {name}:
        assert evaluate.find_copies_by_embedding(other, config, search) is None
