"""The list `benchmark=shifts`: names, templates, and an evaluation of two of its sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import shift_trees
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.shifts import SHIFT_DATASETS
from uniclip.evaluate.datasets.verify import verify_dataset
from uniclip.evaluate.protocols.published import PROTOCOLS


def test_the_list_has_all_shifts() -> None:
    assert datasets.read_benchmark("shifts") == tuple(d.name for d in SHIFT_DATASETS)
    assert sum(d.expected_counts["test"] for d in SHIFT_DATASETS) == 118_963


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
@pytest.mark.parametrize("name", [d.name for d in SHIFT_DATASETS])
def test_templates_are_those_of_imagenet(name: str, protocol: str) -> None:
    assert PROTOCOLS[protocol].get_templates(name) == PROTOCOLS[protocol].get_templates("imagenet")


def test_classes_are_named_as_in_imagenet(tmp_path: Path) -> None:
    classes = shift_trees.imagenet_a(tmp_path).classes
    protocol = PROTOCOLS["clip2021"]
    names = protocol.get_class_names("imagenet_a", classes)
    imagenet_names = protocol.get_class_names("imagenet", classes)
    assert names == imagenet_names
    assert protocol.get_class_names("objectnet", ["t-shirt"]) == {"t-shirt": ("t-shirt",)}


def test_a_tree_of_another_size_is_a_mismatch(tmp_path: Path) -> None:
    shift_trees.imagenet_r(tmp_path)
    status = verify_dataset(datasets.get("imagenet_r"), tmp_path)
    assert status.availability == "mismatch"
    assert list(status.describe()) == ["test 200 (published: 30,000)"]
