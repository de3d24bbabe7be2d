"""Labelled sources: which files they have, and what their identity rests on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.shards import (
    encode_image,
    shards_config,
    write_class_folders,
    write_labelled_shards,
)
from uniclip import data
from uniclip.data.webdataset.labelled_sources import (
    describe_labelled,
    list_class_folders,
    list_labelled_sources,
)
from uniclip.errors import UserError


def test_class_folders_have_the_images_below_them(tmp_path):
    folders = list_class_folders(write_class_folders(tmp_path))
    assert {folder.key: folder.files for folder in folders} == {
        "n01": ("n01/a.png", "n01/b.PNG", "n01/more/c.png"),
        "n02": ("n02/a.png", "n02/d.png"),
    }


def test_a_folder_with_shards_is_a_source_of_shards(tmp_path):
    shards = write_labelled_shards(tmp_path / "shards")
    folders = write_class_folders(tmp_path / "folders")
    config = shards_config(shards, labelled_path=f"{shards}::{folders}")
    assert [source.is_folder for source in list_labelled_sources(config)] == [False, True]
    of_shards, of_folders = describe_labelled(config)
    assert of_shards["shards"] == 2
    assert of_folders["images"] == 5
    Path(folders, "n01", "z.png").write_bytes(encode_image(1))
    assert describe_labelled(config)[0] == of_shards
    assert describe_labelled(config)[1]["digest"] != of_folders["digest"]


def test_what_is_missing_is_said(tmp_path):
    write_labelled_shards(tmp_path / "shards")
    (tmp_path / "empty" / "n01").mkdir(parents=True)
    (tmp_path / "none").mkdir()
    for name, message in (
        ("empty", "has no image in its class folder n01; name shards with cls members"),
        ("none", "has no class folder"),
        ("absent", "data.labelled_path names .*absent, which cannot be read"),
    ):
        config = shards_config(tmp_path / "shards", labelled_path=str(tmp_path / name))
        with pytest.raises(UserError, match=message):
            raise UserError(str(data.describe_missing(config)))
