"""One file is one sample, whatever it is called, and never a training and a test image."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.csv_data import csv_config, write_csv, write_image_set
from uniclip import data
from uniclip.data.csv import packed_index
from uniclip.errors import UserError


def list_names(kind: str, folder: Path, name: str) -> list[str]:
    """Return several names of an image file."""
    if kind == "spelling":
        return [name, f"./{name}", f"{folder}/{name}", f"../{folder.name}//{name}"]
    links = folder / "links"
    links.mkdir(exist_ok=True)
    if kind == "symbolic link":
        os.symlink(f"../{name}", links / name)
    elif kind == "hard link":
        os.link(folder / name, links / name)
    else:
        if not (folder / "again").exists():
            os.symlink(folder, folder / "again")
        return [name, f"again/{name}", f"again/again/{name}"]
    return [f"links/{name}", name]


@pytest.mark.parametrize("kind", ["spelling", "symbolic link", "hard link", "linked folder"])
def test_all_names_of_a_file_are_one_sample(kind: str, tmp_path: Path) -> None:
    write_image_set(tmp_path / "images", 30)
    folder = tmp_path / "images"
    rows = [
        (name, f"caption {i} of {number}", "a")
        for number in range(30)
        for i, name in enumerate(list_names(kind, folder, f"{number}.png"))
    ]
    write_csv(folder, rows)
    splits = [data.open_split(csv_config(folder), name) for name in data.SPLIT_NAMES]
    assert sum(map(len, splits)) == 30
    files = [{os.path.realpath(path) for path in split.image_paths} for split in splits]
    contents = [{Path(path).read_bytes() for path in paths} for paths in files]
    assert not contents[0] & contents[2]
    assert not contents[0] & contents[1]
    assert sum(len(c) for split in splits for c in split.captions) == len(rows)


def test_a_copy_is_another_file(tmp_path: Path) -> None:
    write_image_set(tmp_path, 10)
    shutil.copy2(tmp_path / "0.png", tmp_path / "copy.png")
    write_csv(tmp_path, [(name, name, "a") for name in ("0.png", "copy.png", "1.png")])
    splits = [data.open_split(csv_config(tmp_path), name) for name in data.SPLIT_NAMES]
    assert sum(map(len, splits)) == 3, "the report warns of copies: see near_duplicates"


def test_a_test_table_shares_no_file_with_the_training_table(tmp_path: Path) -> None:
    write_image_set(tmp_path, 20)
    test_path = tmp_path / "test.csv"
    shutil.copytree(tmp_path, tmp_path / "other")
    test_path.write_text("picture,caption,kind\nother/0.png,x,a\nother/1.png,y,b\n")
    config = csv_config(tmp_path, test_path=str(test_path))
    assert len(data.open_split(config, "test")) == 2
    os.symlink(tmp_path / "3.png", tmp_path / "link.png")
    test_path.write_text("picture,caption,kind\nother/0.png,x,a\nlink.png,y,b\n./4.png,z,a\n")
    with pytest.raises(
        UserError,
        match=r"2 of 3 images of data.test_path=.*link.png on line 3, and "
        r"line 5 there; remove them",
    ):
        data.open_split(config, "train")


def test_a_copy_without_the_links_is_other_data(tmp_path: Path) -> None:
    """Each name is a sample of its own there, so that the splits differ."""
    folder = tmp_path / "images"
    write_image_set(folder, 10)
    names = [name for i in range(10) for name in list_names("hard link", folder, f"{i}.png")]
    write_csv(folder, [(name, f"caption {i}", "a") for i, name in enumerate(names)])
    shutil.copytree(folder, tmp_path / "copy")
    shutil.move(folder, tmp_path / "moved")
    moved, copied = (data.fingerprint(csv_config(tmp_path / name)) for name in ("moved", "copy"))
    assert moved["index"] == copied["index"]
    assert "same_images" in moved
    assert "same_images" not in copied


def test_a_large_table_is_one_whether_its_path_is_relative_or_not(
    folder: Path, large: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep stores absolute paths, so that its runs may see another path than its plan."""
    names = [name for i in range(30) for name in list_names("spelling", folder, f"{i}.png")]
    write_csv(folder, [(name, f"caption {i}", "a") for i, name in enumerate(names)])
    large()
    monkeypatch.chdir(folder)
    relative, absolute = csv_config(folder, path="data.csv"), csv_config(folder)
    assert packed_index.open_index(relative).summary.num_samples == 30
    with monkeypatch.context() as patch:
        patch.setattr(packed_index, "write_index", lambda *_: pytest.fail("rows were read again"))
        assert packed_index.open_index(absolute).summary.num_samples == 30
    assert data.fingerprint(relative) == data.fingerprint(absolute)


@pytest.mark.parametrize("is_relative", [(True, False), (False, True)])
def test_a_large_test_table_shares_no_file_however_its_path_is_written(
    folder: Path,
    large: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    is_relative: tuple[bool, bool],
) -> None:
    (folder / "test.csv").write_text("picture,caption,kind\n3.png,x,a\n")
    large()
    monkeypatch.chdir(folder)
    path, test_path = (
        name if relative else str(folder / name)
        for name, relative in zip(("data.csv", "test.csv"), is_relative)
    )
    with pytest.raises(UserError, match="1 of 1 images of data.test_path"):
        data.open_split(csv_config(folder, path=path, test_path=test_path), "train")
