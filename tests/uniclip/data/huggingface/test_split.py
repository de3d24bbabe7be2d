"""Splits of embedded images: pixels, broken images, orders and batches."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.embedded_data import (
    embedded_config,
    make_rows,
    make_table,
    save_dict_to_disk,
    save_to_disk,
    write_hub_folder,
)
from tests.helpers.small_runs import of_method
from tests.helpers.training_runs import equal_weights, get_weights
from uniclip import data
from uniclip.data.huggingface.index import open_index
from uniclip.errors import UserError
from uniclip.training import trainer

SPLIT_ROWS = {"train": range(40), "test": range(40, 60)}
"""The rows of the fixture `hub_folder`."""


def break_rows(folder: str, numbers: list[int]) -> str:
    """Write a data set of 60 rows of which some have damaged images; return the folder."""
    rows = make_rows(range(60))
    for n in numbers:
        rows["image"][n]["bytes"] = rows["image"][n]["bytes"][:60]
    return save_to_disk(Path(folder), make_table(rows), rows_per_batch=10)


@pytest.mark.parametrize("as_parquet", [False, True])
def test_held_out_images_that_cannot_be_read_are_left_out(tmp_path, as_parquet):
    whole = embedded_config(save_to_disk(tmp_path / "whole", make_table(make_rows(range(60)))))
    before = {name: data.open_split(whole, name) for name in ("validation", "test")}
    broken = [int(split.sample_names[1][:5]) for split in before.values()]
    folder = break_rows(tmp_path / "broken", broken)
    if as_parquet:
        rows = make_rows(range(60))
        for n in broken:
            rows["image"][n]["bytes"] = rows["image"][n]["bytes"][:60]
        folder = write_hub_folder(tmp_path / "hub", {"all": make_table(rows)}, 9)
    for name, expected in before.items():
        split = data.open_split(embedded_config(folder), name)
        assert len(split) == len(expected) - 1
        kept = [0, *range(2, len(expected))]
        assert split.ids.tolist() == expected.ids[kept].tolist()
        assert list(split.captions) == [expected.captions[i] for i in kept]
        every = np.arange(len(split))
        assert np.array_equal(split.load_pixels(every), expected.load_pixels(np.array(kept)))
    strict = embedded_config(folder, max_broken=0.0)
    with pytest.raises(UserError, match=r"1 of \d+ test images of .* row \d+ cannot be read"):
        data.open_split(strict, "test")


def test_training_images_that_cannot_be_read_are_named(tmp_path):
    folder = break_rows(tmp_path / "d", [20])
    split = data.open_split(embedded_config(folder), "train")
    i = list(split.sample_names).index("00020.png")
    pixels, is_readable = split.load_readable_pixels(np.array([i - 1, i, i + 1]))
    assert is_readable.tolist() == [True, False, True]
    path = f"{folder}/data-00000-of-00001.arrow"
    assert split.describe_unreadable(i).startswith(f"{path} row 21 cannot be read (")
    split.check_unreadable([i])
    with pytest.raises(UserError, match="more than data.max_broken"):
        dataclasses.replace(split, num_allowed=0).check_unreadable([i])


def test_windows_are_groups_of_rows(hub_folder):
    config = embedded_config(hub_folder, order="windowed", window_groups=2)
    split, index = data.open_split(config, "train"), open_index(config)
    assert split.shard_groups is not None
    assert split.shard_groups.window == 2
    bounds = split.shard_groups.first_samples
    for group in range(len(bounds) - 1):
        rows = split.rows[bounds[group] : bounds[group + 1]]
        assert all(index.group_rows[group] <= row < index.group_rows[group + 1] for row in rows)
    assert bounds[-1] == len(split)


def make_config(path: str, num_workers: int = 0, **changes: object):
    section = dataclasses.asdict(embedded_config(path, label_column="label", **changes))
    return of_method(
        "unicl",
        data=section,
        train={"batch_size": 8, "validate_every": 20, "steps": 3},
        model={"image": {"image_size": 32}},
        runtime={"num_workers": num_workers, "log_every": 1},
    )


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("order", ["full", "windowed"])
def test_weights_are_those_of_any_number_of_workers_and_of_arrow(tmp_path, hub_folder, order):
    """Method UniCL, with classes; Parquet and Arrow files of the same rows train the same model."""
    configs = [make_config(hub_folder, n, order=order) for n in (0, 2)]
    if order == "full":
        tables = {n: make_table(make_rows(r)) for n, r in SPLIT_ROWS.items()}
        configs.append(make_config(save_dict_to_disk(tmp_path / "arrow", tables), 2))
    results = [get_weights(trainer.train_model(config)) for config in configs]
    assert all(equal_weights(weights, results[0]) for weights in results[1:])
