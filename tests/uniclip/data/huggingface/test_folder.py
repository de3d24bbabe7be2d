"""Which files a data set has, and the split of each."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.helpers.embedded_data import make_rows, make_table, save_dict_to_disk, write_stream
from uniclip.data.huggingface.folder import list_files, read_info
from uniclip.errors import UserError


def list_splits(path: str | Path) -> dict[str, str | None]:
    return {file.name: file.split for file in list_files(str(path)).files}


def test_a_saved_data_set_has_the_files_of_its_state_and_no_split(saved):
    (Path(saved) / "cache-1f.arrow").write_bytes(b"a cached map, which the library keeps here")
    names = [f"data-0000{i}-of-00002.arrow" for i in range(2)]
    assert list_splits(saved) == dict.fromkeys(names)
    assert read_info(list_files(saved).files)["label"]["names"] == ["owl", "cat", "dog"]
    assert list_splits(f"{saved}/{names[1]}") == {names[1]: None}


def test_a_dict_states_its_splits(tmp_path):
    table = make_table(make_rows(range(4)))
    folder = save_dict_to_disk(tmp_path / "d", dict.fromkeys(("train", "dev", "extra"), table))
    files = {name: "data-00000-of-00001.arrow" for name in ("train", "dev")}
    assert list_splits(folder) == {
        f"train/{files['train']}": "train",
        f"dev/{files['dev']}": "validation",
    }
    assert list_files(folder).unused_splits == ("extra",)
    assert list_files(folder).declared_splits == {"train", "validation"}


def test_a_single_split_is_divided_like_a_data_set_without_one(tmp_path):
    table = make_table(make_rows(range(4)))
    folder = save_dict_to_disk(tmp_path / "d", {"train": table})
    assert list(list_splits(folder).values()) == [None]
    other = save_dict_to_disk(tmp_path / "e", {"all": table})
    assert list(list_splits(other).values()) == [None]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00004-9f3e.parquet", "train"),
        ("default/validation/0000.parquet", "validation"),
        ("val.parquet", "validation"),
        ("flickr30k-test-00000-of-00009.arrow", "test"),
        ("training-pairs_test.arrow", "test"),
        ("contest/0.parquet", None),
    ],
)
def test_names_of_files_or_folders_state_the_split(tmp_path, name, split):
    for each in (name, "train/0.arrow", ".cache/train.arrow"):
        (tmp_path / each).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / each).write_bytes(b"")
    folder = list_files(str(tmp_path))
    found = {file.name: file.split for file in folder.files}
    assert ".cache/train.arrow" not in found
    if split is None:
        assert folder.unused_splits == ("contest",)
    elif split != "train":
        assert found == {name: split, "train/0.arrow": "train"}
    else:
        assert set(found.values()) == {None}, "one split alone is divided"


def test_folders_behind_links_and_those_named_like_files_are_searched(tmp_path):
    """Spark writes a folder of this name; a link may lead in a circle."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "part-0.parquet").write_bytes(b"")
    (tmp_path / "d" / "train.parquet").mkdir(parents=True)
    (tmp_path / "d" / "train.parquet" / "part 0.parquet").write_bytes(b"")
    (tmp_path / "d" / "test").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "d" / "again").symlink_to(tmp_path / "d")
    assert list_splits(tmp_path / "d") == {
        "test/part-0.parquet": "test",
        "train.parquet/part 0.parquet": "train",
    }


def test_unused_files_are_named_where_others_of_their_folder_are_used(tmp_path):
    for name in ("data/train.arrow", "data/test.arrow", "data/extra.arrow", "more/0.arrow"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert list_files(str(tmp_path)).unused_splits == ("data/extra.arrow", "more")


def test_what_changes_a_file_changes_what_is_known_of_it(saved):
    before = list_files(saved).files
    path = Path(saved) / "data-00001-of-00002.arrow"
    os.utime(path, ns=(1, 1))
    after = list_files(saved).files
    assert before[0] == after[0]
    assert before[1] != after[1]


def break_state(folder: Path, **changes: object) -> None:
    path = folder / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_every_error_is_one_line_with_what_to_do(saved, saved_dict, tmp_path):
    def fail(path: str | Path) -> str:
        with pytest.raises(UserError) as caught:
            list_files(str(path))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "there is no folder" in fail(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert "has no file of a data set" in fail(tmp_path / "empty")
    (tmp_path / "a.csv").write_text("picture,caption")
    assert "is no .arrow or .parquet file" in fail(tmp_path / "a.csv")
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    break_state(copy, _indices_data_files=[{"filename": "indices.arrow"}])
    assert "flatten_indices" in fail(copy)
    break_state(copy, _indices_data_files=None, _data_files=[{"filename": "../other.arrow"}])
    assert "does not name its files" in fail(copy)
    break_state(copy, _data_files=[{"filename": "gone.arrow"}])
    assert "gone.arrow cannot be read (No such file" in fail(copy)
    (copy / "state.json").write_text("[" * 100_000)
    assert "state.json cannot be read (no JSON)" in fail(copy)
    Path(saved_dict, "dataset_dict.json").write_text(json.dumps({"splits": ["/etc"]}))
    assert "does not name its splits" in fail(saved_dict)
    Path(saved_dict, "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    shutil.rmtree(Path(saved_dict) / "train")
    assert "train/state.json cannot be read" in fail(saved_dict)
    for name in ("test", "validation"):
        write_stream(tmp_path / "held out" / f"{name}.arrow", make_table(make_rows(range(2))))
    assert "no training split (test, validation)" in fail(tmp_path / "held out")
