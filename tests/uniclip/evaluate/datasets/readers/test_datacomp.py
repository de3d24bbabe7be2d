"""DataComp's copies of evaluation sets, read as they are published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import datacomp_trees, dataset_trees
from uniclip.errors import UserError
from uniclip.evaluate import datasets

CLASSES = ("zero", "one", "two", "three", "four", "five", "six")


def test_samples_of_all_shards_are_read_in_their_order(tmp_path: Path) -> None:
    labels = [3, 0, 6, 1, 5, 2]
    datacomp_trees.write_copy(tmp_path / "wds_vtab-svhn_test", CLASSES, labels)
    dataset = datasets.get("svhn")
    opened = dataset.open(tmp_path, "test")
    assert opened.classes == CLASSES
    assert opened.labels.tolist() == labels
    assert opened.ids == tuple(f"s{i:07d}" for i in range(6))
    assert opened.groups is None
    assert np.asarray(opened.load_image(4))[0, 0].tolist() == list(dataset_trees.colour(5))
    templates = ("a photo of {}.", "an image of {}.")
    assert dataset.reader.read_templates(tmp_path) == templates


def test_groups_are_a_column_of_the_metadata(tmp_path: Path) -> None:
    rows = [[0, 2016, 0], [3, 2017, 1], [5, 2016, 2]]
    datacomp_trees.write_copy(tmp_path / "wds_wilds-fmow_test", CLASSES, [0, 1, 2], rows)
    assert datasets.get("fmow").open(tmp_path, "test").groups.tolist() == [0, 3, -1]


def test_a_copy_without_metadata_is_refused(tmp_path: Path) -> None:
    datacomp_trees.write_copy(tmp_path / "wds_geode_test", CLASSES, [0, 1])
    with pytest.raises(UserError, match=r"sample s0000000 has no .npy"):
        datasets.get("geode").open(tmp_path, "test")


def test_a_missing_file_of_prompts_is_named(tmp_path: Path) -> None:
    datacomp_trees.write_copy(tmp_path / "wds_vtab-svhn_test", CLASSES, [0, 1])
    (tmp_path / "wds_vtab-svhn_test/zeroshot_classification_templates.txt").unlink()
    reason = datasets.get("svhn").describe_missing(tmp_path) or ""
    assert "zeroshot_classification_templates.txt; download" in reason
