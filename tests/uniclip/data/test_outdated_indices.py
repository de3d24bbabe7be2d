"""Indices of each kind of data are listed once the data have changed, and not before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path

import pytest

from tests.helpers.csv_data import csv_config, write_image_set
from tests.helpers.embedded_data import embedded_config, make_rows, make_table, save_to_disk
from tests.helpers.shards import shards_config, write_shards
from uniclip.config import DataConfig
from uniclip.data.csv import packed_index
from uniclip.data.outdated_indices import MODULES, list_outdated_folders
from uniclip.data.webdataset import index as webdataset_index
from uniclip.io import source_record


def write_tars(folder: Path) -> DataConfig:
    return shards_config(write_shards(folder, 30, 2))


def write_table(folder: Path) -> DataConfig:
    return csv_config(write_image_set(folder, 30).parent, label_column=None)


def write_embedded(folder: Path) -> DataConfig:
    return embedded_config(save_to_disk(folder, make_table(make_rows(range(30)))))


WRITERS: dict[str, Callable[[Path], DataConfig]] = {
    "shards": write_tars,
    "tables": write_table,
    "datasets": write_embedded,
}


@pytest.mark.parametrize("kind", MODULES)
def test_an_index_is_listed_with_what_is_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    assert list_outdated_folders() == []
    config, module = WRITERS[kind](tmp_path / "data"), import_module(MODULES[kind])
    index = module.open_index(config)
    assert index.folder.parent == tmp_path / "cache" / kind
    beside = index.folder.with_name(f"{index.folder.name}-tokens-1")
    beside.mkdir()
    assert list_outdated_folders() == []
    files = [path for path in (tmp_path / "data").iterdir() if path.suffix != ".png"]
    for path in files:
        os.utime(path, ns=(1, 1))
    if kind == "tables":  # an index of tables is found by their content
        assert list_outdated_folders() == []
        assert module.open_index(config).folder == index.folder
        (table,) = files
        content = table.read_bytes()
        table.unlink()
        assert list_outdated_folders() == [index.folder, beside]
        table.write_bytes(content.replace(b"red", b"old"))
    assert list_outdated_folders() == [index.folder, beside]
    again = module.open_index(config)
    assert again.folder != index.folder
    assert list_outdated_folders() == [index.folder, beside]
    monkeypatch.setattr(module, "VERSION", 99)
    assert again.folder in list_outdated_folders()


def test_an_index_that_is_being_written_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its files have changed meanwhile; what a process that died left is."""
    monkeypatch.setenv("UNICLIP_CACHE", str(tmp_path / "cache"))
    config = write_tars(tmp_path / "data")
    listed = []

    def write_and_list(folder: Path, version: int, files: Iterable[tuple[str, int, int]]) -> None:
        source_record.write_sources(folder, version, files)
        for path in (tmp_path / "data").iterdir():
            os.utime(path, ns=(1, 1))
        assert source_record.is_outdated(folder, version)
        listed.append(list_outdated_folders())
        shutil.copytree(folder, copy := folder.with_name(f".{'0' * 32}.{'1' * 32}"))
        copies.append(copy)

    copies: list[Path] = []
    monkeypatch.setattr(webdataset_index, "write_sources", write_and_list)
    index = webdataset_index.open_index(config)
    assert listed == [[]]
    assert list_outdated_folders() == [*copies, index.folder]


def test_the_folders_are_those_of_the_modules() -> None:
    assert {kind: import_module(name).FOLDER for kind, name in MODULES.items()} == {
        kind: kind for kind in MODULES
    }
    assert packed_index.FOLDER == "tables"
