"""Verdicts by embedding are cached by training data, set and model, and noted for reports."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from tests.helpers import dataset_trees
from tests.uniclip.evaluate.checks.test_contaminated_items import (
    draw_photo,
    write_training_images,
)
from tests.uniclip.evaluate.checks.test_embedding_copies import embed_colours
from tests.uniclip.evaluate.scoring.test_dataset_splits import build_config
from uniclip import evaluate
from uniclip.evaluate.checks.copy_search import CopySearch, note_verdicts, read_verdicts


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

    note_verdicts(tmp_path / "cache", "run", "flickr30k", "0123abcd", copies)
    noted = read_verdicts(tmp_path / "cache", "run", "flickr30k", "0123abcd")
    assert noted is not None
    assert noted.verdicts.tolist() == copies.verdicts.tolist()
    assert noted.calibration == copies.calibration
    assert read_verdicts(tmp_path / "cache", "run", "flickr30k", "another") is None
