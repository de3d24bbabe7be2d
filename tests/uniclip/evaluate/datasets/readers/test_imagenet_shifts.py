"""ImageNet under distribution shift, read from trees in the published formats."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import shift_trees
from tests.helpers.dataset_trees import label_of
from uniclip.errors import UserError
from uniclip.evaluate import datasets
from uniclip.evaluate.datasets.readers.imagenet_shifts import list_imagenet_classes


@pytest.mark.parametrize("name", list(shift_trees.SHIFT_WRITERS))
def test_a_shift_is_read_as_published(name: str, tmp_path: Path) -> None:
    truth = shift_trees.SHIFT_WRITERS[name](tmp_path)
    dataset = datasets.get(name)
    assert dataset.describe_missing(tmp_path) is None
    images = dataset.open(tmp_path, "test")
    assert images.classes == truth.classes
    assert images.labels is not None
    assert list(zip(images.ids, images.labels.tolist())) == truth.rows["test"]
    for i in (0, len(images) // 2, len(images) - 1):
        label = int(images.labels[i])
        assert label_of(images.load_image(i), range(27)) == label % 27


def test_subsets_have_the_published_sizes_and_are_classes_of_imagenet() -> None:
    imagenet = list_imagenet_classes()
    assert len(imagenet) == 1000
    assert list(imagenet) == sorted(imagenet)
    for name in ("imagenet_a", "imagenet_r", "imagenet_o"):
        subset = list_imagenet_classes(name)
        assert len(set(subset)) == 200
        assert list(subset) == sorted(set(imagenet) & set(subset))


@pytest.mark.skipif(not importlib.util.find_spec("clip_benchmark"), reason="needs CLIP_benchmark")
@pytest.mark.parametrize("name", ["imagenet_a", "imagenet_r", "imagenet_o"])
def test_subsets_are_those_of_clip_benchmark(name: str) -> None:
    """Its lists stand in the code of `build_dataset`."""
    spec = importlib.util.find_spec("clip_benchmark")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / "datasets/builder.py"
    (expected,) = (
        ast.literal_eval(node.value)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == f"{name}_wnids"
    )
    assert sorted(expected) == list(list_imagenet_classes(name))


def test_folders_of_imagenet_v2_are_numbers_and_not_text(tmp_path: Path) -> None:
    shift_trees.imagenet_v2(tmp_path)
    images = datasets.get("imagenet_v2").open(tmp_path, "test")
    labels = dict(zip(images.ids, images.labels))  # type: ignore[arg-type]
    assert [labels[f"{i}/{i}.jpeg"] for i in (2, 10, 100, 999)] == [2, 10, 100, 999]


def test_the_border_of_objectnet_is_cut_off(tmp_path: Path) -> None:
    shift_trees.objectnet(tmp_path)
    images = datasets.get("objectnet").open(tmp_path, "test")
    pixels = np.asarray(images.load_image(0))
    assert pixels.shape == (shift_trees.SIDE, shift_trees.SIDE, 3)
    assert not (pixels == shift_trees.RED).all(axis=-1).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [("rmdir", "lacks 1 of 200 classes, such as n"), ("mkdir", "a folder that is no class: n0")],
)
def test_other_folders_than_the_published_classes_are_refused(
    tmp_path: Path, change: str, message: str
) -> None:
    truth = shift_trees.imagenet_a(tmp_path)
    if change == "mkdir":
        (tmp_path / "imagenet-a/n00000000").mkdir()
    else:
        (tmp_path / "imagenet-a" / truth.rows["test"][3][0]).unlink()
        (tmp_path / "imagenet-a" / truth.classes[3]).rmdir()
    with pytest.raises(UserError, match=message):
        datasets.get("imagenet_a").open(tmp_path, "test")


@pytest.mark.skipif(not importlib.util.find_spec("clip_benchmark"), reason="needs CLIP_benchmark")
def test_clip_benchmark_reads_the_same_objects(tmp_path: Path) -> None:
    """Classes and labels; it leaves the border on, against the terms of ObjectNet."""
    from clip_benchmark.datasets.objectnet import ObjectNetDataset

    shift_trees.objectnet(tmp_path)
    base = tmp_path / "objectnet-1.0"
    for path in (base / "mappings").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    theirs = ObjectNetDataset(str(tmp_path), transform=None)
    ours = datasets.get("objectnet").open(tmp_path, "test")
    assert theirs.classes == list(ours.classes)
    assert [label for _, label in theirs] == list(ours.labels)  # type: ignore[arg-type]
    names = json.loads((base / "mappings/folder_to_objectnet_label.json").read_text())
    assert len(names) == len(theirs.classes) + 1, "one class is not in ImageNet"
