"""The state of a data set on disk in one word, and what was found."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from tests.helpers import dataset_trees
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.verify import verify_dataset

DTD = replace(datasets.get("dtd"), expected_counts={})


def test_every_state(tmp_path: Path) -> None:
    assert verify_dataset(DTD, tmp_path).availability == "missing"
    dataset_trees.dtd(tmp_path)
    status = verify_dataset(DTD, tmp_path)
    assert (status.availability, status.counts) == (
        "complete",
        {"train": 9, "validation": 6, "test": 6},
    )
    assert list(status.describe()) == ["train 9, validation 6, test 6"]
    (tmp_path / "dtd/dtd/labels/val1.txt").unlink()
    status = verify_dataset(DTD, tmp_path)
    assert status.availability == "partial"
    assert "val1.txt; download it with" in str(status.missing_reason)
    shutil.rmtree(tmp_path / "dtd/dtd/images/banded")
    status = verify_dataset(DTD, tmp_path)
    assert status.availability == "corrupt"
    assert "3 of 9 images of train are missing" in str(status.read_error)


def test_other_counts_or_checksums_are_a_mismatch(tmp_path: Path) -> None:
    dataset_trees.dtd(tmp_path)
    status = verify_dataset(datasets.get("dtd"), tmp_path)
    assert status.availability == "mismatch"
    assert next(status.describe()).startswith("train 9 (published: 1,880), ")
    index = "dtd/dtd/labels/test1.txt"
    dataset = replace(DTD, md5_sums={index: "0" * 32, "absent.tar": "0" * 32})
    assert verify_dataset(dataset, tmp_path).availability == "complete"
    status = verify_dataset(dataset, tmp_path, check_md5=True)
    assert status.availability == "mismatch"
    assert list(status.describe())[-1] == f"not the published file: {index}"
