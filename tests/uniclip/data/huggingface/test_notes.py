"""What a user is told of a data set, and what is a warning."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.helpers.embedded_data import (
    embedded_config,
    make_rows,
    make_table,
    save_dict_to_disk,
    save_to_disk,
)
from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.data.huggingface import notes
from uniclip.data.huggingface.index import open_index
from uniclip.errors import UserError

TEXT = tiny().model.text


def test_splits_classes_and_the_reading_of_parquet(hub_folder):
    config = embedded_config(hub_folder, label_column="label")
    open_index(config)
    columns, samples, classes, order = notes.describe_data_set(config)
    assert columns.endswith("captions of 'caption', classes of 'label' (3 names)")
    assert samples.startswith("60 samples: ")
    assert samples.endswith("20 test")
    assert classes == "3 classes"
    assert "takes the reading of its whole row group" in order
    (warning,) = [w for w in notes.list_warnings(config, TEXT) if "row group" in w.message]
    assert "data.order=windowed" in warning.fix
    windowed = embedded_config(hub_folder, label_column="label", order="windowed")
    assert len(notes.describe_data_set(windowed)) == 3


def test_what_is_left_out_is_counted(tmp_path):
    rows = make_rows([0, 0, *range(2, 40)])
    rows["caption"][3], rows["image"][4] = None, None
    folder = save_dict_to_disk(
        tmp_path / "d", {"train": make_table(rows), "more": make_table(make_rows(range(3)))}
    )
    where = "score < 0.3"
    config = embedded_config(folder, max_broken=0.2, where=where, max_held_out=16)
    open_index(config)
    text = "\n".join(notes.describe_data_set(config))
    num_training = len(data.open_split(config, "train"))
    num_filtered = len(data.open_split(replace(config, where=None), "train")) - num_training
    assert 0 < num_filtered <= 10
    for part in (
        "neither as training, validation nor test split: more",
        f"{38 - num_filtered} samples: {num_training} train, ",
        "2 rows are skipped (no caption: 1, no image: 1): ",
        f"{num_filtered} training rows do not fulfil data.where={where!r}; held-out rows need not",
        "1 images have the path of another one",
    ):
        assert part in text
    messages = [warning.message for warning in notes.list_warnings(config, TEXT)]
    assert any(message.startswith("2 rows are skipped") for message in messages)


def test_unreadable_held_out_images_and_cut_captions_are_warnings(tmp_path):
    rows = make_rows(range(60))
    config = embedded_config(save_to_disk(tmp_path / "whole", make_table(rows)), max_broken=0.3)
    number = int(data.open_split(config, "test").sample_names[0][:5])
    rows["image"][number]["bytes"] = b"no image"
    rows["caption"] = [["word " * 200]] * 60
    config = embedded_config(save_to_disk(tmp_path / "d", make_table(rows)), max_broken=0.3)
    messages = [warning.message for warning in notes.list_warnings(config, TEXT)]
    assert any(f"row {number + 1} cannot be read" in message for message in messages)
    assert any("cut" in message for message in messages)


def test_a_data_set_without_validation_samples_is_refused(tmp_path):
    config = embedded_config(
        save_to_disk(tmp_path / "d", make_table(make_rows(range(3)))), validation_fraction=0.001
    )
    open_index(config)
    with pytest.raises(UserError, match="has no validation samples"):
        notes.describe_data_set(config)


@pytest.mark.parametrize("name", ["training", "validation"])
def test_an_empty_split_is_named(tmp_path, name):
    table = make_table(make_rows(range(30)))
    tables = {"training": table, "validation": table, name: table.slice(0, 0)}
    config = embedded_config(save_dict_to_disk(tmp_path / "d", tables))
    open_index(config)
    with pytest.raises(UserError, match=f"no {name} samples: its {name} split is empty"):
        notes.describe_data_set(config)
