"""The index is written once, by one process, and again only if the files or the section change."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from tests.helpers.embedded_data import embedded_config, make_rows, make_table, save_to_disk
from uniclip import data
from uniclip.data.huggingface import source
from uniclip.data.huggingface.index import FOLDER, find_index, open_index
from uniclip.data.outdated_indices import list_outdated_folders


def list_indices(cache_folder: Path) -> list[Path]:
    return [path for path in (cache_folder / FOLDER).iterdir() if path.is_dir()]


def test_an_index_is_found_once_it_is_written(saved, capfd):
    config = embedded_config(saved)
    assert find_index(config) is None
    index = open_index(config)
    assert "without the images; once, kept in" in capfd.readouterr().err
    again = find_index(config)
    assert again is not None
    assert again.folder == index.folder
    open_index(config)
    assert capfd.readouterr().err == ""


def test_groups_of_rows_are_record_batches_or_row_groups(saved, hub_folder):
    assert open_index(embedded_config(saved)).group_rows.tolist() == [
        *range(0, 30, 9),
        *range(30, 60, 9),
        60,
    ]
    assert open_index(embedded_config(hub_folder)).group_rows.tolist() == [
        *(0, 7, 10, 17),
        *(20, 27, 34, 40, 47, 54),
        60,
    ]


def test_other_files_or_another_section_have_another_index(saved, cache_folder):
    open_index(embedded_config(saved))
    for changes in ({"where": "score > 0.1"}, {"max_held_out": 16}, {"test_fraction": 0.1}):
        assert find_index(embedded_config(saved, **changes)) is None
    same = {"image_size": 32, "max_broken": 0.5, "order": "windowed", "verify": True}
    assert find_index(embedded_config(saved, **same)) is not None
    os.utime(Path(saved) / "data-00000-of-00002.arrow", ns=(1, 1))
    assert find_index(embedded_config(saved)) is None
    open_index(embedded_config(saved))
    assert len(list_indices(cache_folder)) == 2


def test_other_names_of_classes_have_another_index(tmp_path):
    """Those of `dataset_info.json`, where the files state none; the labels are those of now."""
    table = make_table(make_rows(range(60)), with_features=False)
    path = save_to_disk(tmp_path / "d", table)
    config, unlabelled = embedded_config(path, label_column="label"), embedded_config(path)
    split, index = data.open_split(config, "train"), open_index(config)
    fingerprints = [data.fingerprint(c) for c in (config, unlabelled)]
    open_index(unlabelled)
    assert split.class_names["label"] == ("cat", "dog", "owl")
    info_path = tmp_path / "d" / "dataset_info.json"
    info_path.write_text(info_path.read_text().replace('"citation": ""', '"citation": "of us"'))
    os.utime(info_path, ns=(1, 1))
    assert find_index(config) is not None
    assert list_outdated_folders() == []
    info_path.write_text(info_path.read_text().replace("owl", "ant"))
    assert find_index(unlabelled) is not None
    assert find_index(config) is None
    again = data.open_split(config, "train")
    assert again.class_names["label"] == ("ant", "cat", "dog")
    old, new = ([s.class_names["label"][i] for i in s.labels["label"]] for s in (split, again))
    assert new == [name.replace("owl", "ant") for name in old]
    assert list_outdated_folders() == [index.folder]
    (tmp_path / "d").rename(tmp_path / "unmounted")
    assert list_outdated_folders() == []
    (tmp_path / "unmounted").rename(tmp_path / "d")
    said = [source.describe_fingerprint(c) for c in (config, unlabelled)]
    assert ["names of the classes in dataset_info.json" in text for text in said] == [True, False]
    changed = [data.fingerprint(c) for c in (config, unlabelled)]
    assert (changed[0] == fingerprints[0], changed[1] == fingerprints[1]) == (False, True)


def test_a_damaged_index_is_written_again(saved):
    config = embedded_config(saved)
    index = open_index(config)
    expected = list(index.open_split("train").captions)
    for name in ("index.json", "starts.npy", "train/captions.npy"):
        path = index.folder / name
        path.write_bytes(path.read_bytes()[:-7])
        assert find_index(config) is None
        assert list(open_index(config).open_split("train").captions) == expected
    assert np.load(index.folder / "lengths.npy").all()
