"""User-defined data sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import dataset_trees
from tests.helpers.small_runs import tiny
from uniclip import evaluate
from uniclip.errors import UserError
from uniclip.evaluate import datasets

# ---- folders -------------------------------------------------------------------------------------


def test_a_folder_of_classes_is_the_test_split(tmp_path: Path) -> None:
    dataset_trees.class_folders(tmp_path, ("cat", "dog"), {"test": ""}, ".PNG")
    dataset_trees.draw(tmp_path / "dog/deeper/x.webp", 1)
    (tmp_path / "cat/notes.txt").write_text("no picture")
    dataset_trees.draw(tmp_path / "cat/.thumbnails/0.png", 0)
    (tmp_path / ".git").mkdir()
    dataset = datasets.get(f"folder:{tmp_path}")
    assert dataset.splits == ("test",)
    pictures = dataset.open("elsewhere", "test")
    assert pictures.classes == ("cat", "dog")
    assert pictures.labels is not None
    assert pictures.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert pictures.ids[-1] == "dog/deeper/x.webp"
    with pytest.raises(UserError, match="unknown split of folder:.* 'train'"):
        dataset.open("elsewhere", "train")


def test_a_folder_may_have_splits(tmp_path: Path) -> None:
    classes = ("cat", "dog")
    parts = {"train": "train", "validation": "val"}
    dataset_trees.class_folders(tmp_path, classes, parts, ".png")
    two = datasets.get(f"folder:{tmp_path}")  # ImageNet's habit: val is the test
    assert {p: len(two.open("", p)) for p in two.splits} == {"train": 4, "test": 6, "validation": 2}
    dataset_trees.class_folders(tmp_path, classes, {"test": "test"}, ".png")
    three = datasets.get(f"folder:{tmp_path}")
    assert {p: len(three.open("", p)) for p in three.splits} == dict.fromkeys(
        dataset_trees.SPLITS, 6
    )
    dataset_trees.draw(tmp_path / "train/emu/1.png", 2)
    with pytest.raises(UserError, match="has a class that the test split lacks: emu"):
        three.open("", "train")


def test_the_fingerprint_does_not_depend_on_the_path(tmp_path: Path) -> None:
    for name in ("one", "two"):
        parts = {"train": "train", "test": "test"}
        dataset_trees.class_folders(tmp_path / name, ("cat", "dog"), parts, ".png")
    one, two = (datasets.get(f"folder:{tmp_path / name}") for name in ("one", "two"))
    assert one.fingerprint("") == two.fingerprint("")
    assert one.open("", "validation").ids == two.open("", "validation").ids
    dataset_trees.draw(tmp_path / "two/test/dog/9.png", 1)
    assert one.fingerprint("") != two.fingerprint("")
    assert one.fingerprint("", ("train",)) == two.fingerprint("", ("train",))


def test_missing_user_defined_data(tmp_path: Path) -> None:
    for kind in ("folder", "csv", "wds"):
        dataset = datasets.get(f"{kind}:{tmp_path}/none/x")
        assert str(dataset.describe_missing("")).startswith(f"there is no {tmp_path}/none/x")
        with pytest.raises(UserError, match="is missing"):
            dataset.open("", "test")
        with pytest.raises(UserError, match="names no path"):
            datasets.get(f"{kind}:")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="lists no test images"):
        datasets.get(f"folder:{tmp_path}/empty").open("", "test")


# ---- CSV -----------------------------------------------------------------------------------------


# ---- shards --------------------------------------------------------------------------------------


# ---- prompts beside shards -----------------------------------------------------------------------


def test_templates_beside_shards_are_used_unless_the_protocol_has_custom_ones(
    tmp_path: Path,
) -> None:
    dataset_trees.write_shard(
        tmp_path / "test/0.tar", {"s.cls": b"0", "s.jpg": dataset_trees.encode_jpeg(0)}
    )
    (tmp_path / "zeroshot_classification_templates.txt").write_text("my {c}.\n\na {c}\n")
    name = f"wds:{tmp_path}"

    def templates(protocol: object) -> object:
        of = tiny(runtime={"protocol": protocol})
        return evaluate.build_protocol(name, of)["templates"]

    assert templates("clip2021") == templates("laion_cb") == ["my {}.", "a {}"]
    assert templates({"name": "mine", "templates": {"*": ["{}"]}}) == ["{}"]
    assert templates({"name": "mine", "templates": {name: ["x {}"], "*": ["{}"]}}) == ["x {}"]
    (tmp_path / "zeroshot_classification_templates.txt").write_text("no place for a name\n")
    with pytest.raises(UserError, match=r"templates\.txt: template .* needs exactly one"):
        templates("clip2021")
