"""The fourteen data sets are read from their formats as published."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import dataset_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import bench14
from uniclip.evaluate.datasets.images import ImageDataset

SETS = [d.name for d in (*bench14.CLASSIFICATION_DATASETS, *bench14.RETRIEVAL_DATASETS)]
LISTED = [name for name in SETS if name not in ("caltech101", "voc2007", "flickr30k", "coco")]


@pytest.mark.parametrize("name", LISTED)
def test_a_classification_data_set_is_read_as_published(name: str, tmp_path: Path) -> None:
    truth = dataset_trees.WRITERS[name](tmp_path)
    dataset = datasets.get(name)
    read = {part: dataset.open(tmp_path, part) for part in dataset.splits}
    for part, pictures in read.items():
        assert (pictures.name, pictures.split, pictures.classes) == (name, part, truth.classes)
        assert pictures.labels is not None
        assert pictures.labels.dtype == np.int64
        for i, label in enumerate(pictures.labels):
            assert pictures.load_image(i).mode == "RGB"
            assert dataset_trees.label_of(pictures.load_image(i), set(pictures.labels)) == label
    for part, rows in truth.rows.items():
        rows_found = rows_of(read[part])
        if part == "train" and dataset.held_out:
            rows_found = [row for row in rows if row in rows_found + rows_of(read["validation"])]
            assert len(rows) == len(read["train"]) + len(read["validation"])
            assert 0 < len(read["validation"]) <= len(read["train"])
        assert rows_found == rows
        assert dataset.count_and_list_images(tmp_path, part)[0] == len(rows)


def rows_of(pictures: ImageDataset) -> list[tuple[str, int]]:
    assert pictures.labels is not None
    return list(zip(pictures.ids, pictures.labels.tolist()))


def test_aliases_and_unknown_names() -> None:
    assert datasets.get("pets").name == "oxford_pets"
    with pytest.raises(UserError, match=r"unknown data set 'cifra10': did you mean cifar10"):
        datasets.get("cifra10")


def test_benchmarks_are_lists_of_known_data_sets(tmp_path: Path) -> None:
    assert set(datasets.read_benchmark("bench14")) == set(SETS)
    assert len(datasets.read_benchmark("bench14")) == 14
    eleven = datasets.read_benchmark("uniclip11")
    assert len(eleven) == 11
    assert set(SETS) - set(eleven) == {"voc2007", "flickr30k", "coco"}
    dataset_trees.text(
        tmp_path / "benchmark/mine.yaml", ["- pets", "- dtd", "- openmoji", "- folder:x"]
    )
    with pytest.raises(UserError, match="unknown data set 'openmoji'"):
        datasets.read_benchmark("mine", [tmp_path])
    names = datasets.read_benchmark("mine", [datasets.CONF, tmp_path], extra_names=["openmoji"])
    assert names == ("oxford_pets", "dtd", "openmoji", "folder:x")
    assert datasets.list_benchmarks([tmp_path]) == ("mine",)
    for lines in (["pets"], ["- pets", "- oxford_pets"], ["- 3"], ["- [", "a"], ["- nonsense"]):
        dataset_trees.text(tmp_path / "benchmark/bad.yaml", lines)
        with pytest.raises(UserError):
            datasets.read_benchmark("bad", [tmp_path])
    with pytest.raises(UserError, match="unknown benchmark"):
        datasets.read_benchmark("bench15")


def test_the_catalogue_imports_neither_numpy_nor_torch() -> None:
    code = (
        "import sys; from uniclip.evaluate import datasets\n"
        "d = datasets.get('dtd'); d.describe_missing('/nowhere'); d.fingerprint('/nowhere')\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'PIL', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
