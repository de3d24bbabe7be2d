"""Opened splits: images that cannot be read, and pickling."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import dataset_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    dataset_trees.dtd(tmp_path)
    (tmp_path / "dtd/dtd/images/banded/banded_test0000.jpg").write_bytes(b"no picture")
    pictures = datasets.get("dtd").open(tmp_path, "test")
    with pytest.raises(UserError, match="dtd: image banded/banded_test0000 cannot be read"):
        pictures.load_image(0)
    with pytest.raises(IndexError):
        pictures.load_image(len(pictures))


@pytest.mark.parametrize("name", ["dtd", "cifar10", "flickr30k"])
def test_images_can_be_sent_to_data_workers(name: str, tmp_path: Path) -> None:
    dataset_trees.WRITERS[name](tmp_path)
    pictures = datasets.get(name).open(tmp_path, "validation")
    sent = pickle.loads(pickle.dumps(pictures))
    assert sent.ids == pictures.ids
    assert np.array_equal(np.asarray(sent.load_image(0)), np.asarray(pictures.load_image(0)))
