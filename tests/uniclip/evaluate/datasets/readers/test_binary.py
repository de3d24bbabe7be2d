"""Data sets stored as arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import dataset_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.readers import binary


def test_columns_come_first_in_stl10(tmp_path: Path) -> None:
    dataset_trees.stl10(tmp_path)
    picture = datasets.get("stl10").open(tmp_path, "test").load_image(0)
    assert picture.getpixel((10, 80)) == (0, 0, 0)  # the left is black, not the top
    assert picture.getpixel((80, 10)) == dataset_trees.colour(1)


def test_truncated_idx_files_are_refused(tmp_path: Path) -> None:
    dataset_trees.mnist(tmp_path)
    path = tmp_path / "MNIST/raw/t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"holds 2351 bytes where its header says \[3, 28, 28\]"):
        datasets.get("mnist").open(tmp_path, "test")
    path.write_bytes(b"PNG")
    with pytest.raises(UserError, match="is not an idx file of bytes"):
        binary.read_idx(path)
    dataset_trees.idx(path, np.zeros((4, 28, 28)), packed=False)
    with pytest.raises(UserError, match="4 test images and 3 labels do not match"):
        datasets.get("mnist").open(tmp_path, "test")


def test_the_fashion_mnist_of_debian_is_found() -> None:
    found = datasets.get("fashion_mnist")
    for wanted in found.files["test"]:
        assert wanted.split("|")[-1].startswith("/usr/share/datasets/fashion-mnist/t10k-")
    if Path("/usr/share/datasets/fashion-mnist").is_dir():
        assert len(found.open("nowhere", "test")) == 10_000
