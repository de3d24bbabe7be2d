"""The samples of tables of any size: a plan says the same of those in memory and in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.csv_data import csv_config, write_csv, write_varied_csv
from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.data.csv import notes, packed_index, rows, source
from uniclip.data.csv.index import recall_index
from uniclip.data.csv.packed_index import PackedIndex
from uniclip.data.text import truncation
from uniclip.errors import UserError


def test_the_samples_of_a_large_table_are_in_files(folder: Path, large: Callable[[], None]) -> None:
    config = csv_config(folder)
    small_index = recall_index(config)
    assert isinstance(small_index, rows.CsvIndex)
    large()
    index = recall_index(config)
    assert isinstance(index, PackedIndex)
    assert index.summary == small_index.summary
    assert index.summary.num_samples == 40
    assert isinstance(recall_index(csv_config(folder, verify=True)), PackedIndex)


@pytest.mark.parametrize("is_large", [False, True])
def test_a_table_that_changes_is_read_again(
    folder: Path, large: Callable[[], None], is_large: bool
) -> None:
    if is_large:
        large()
    config = csv_config(folder)
    assert recall_index(config).summary.num_samples == 40
    write_csv(folder, [("1.png", "one", "a"), ("2.png", "two", "a")])
    assert recall_index(config).summary.num_samples == 2
    write_csv(folder, [("1.png", "one", "a"), ("1.png", "two", "b")])
    with pytest.raises(UserError, match="line 3, column 'kind': 1.png is 'b' here but 'a' on"):
        recall_index(config)


def test_a_plan_says_the_same(
    folder: Path, large: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_varied_csv(folder)
    config, text = csv_config(folder, max_broken=0.5, label_column=None), tiny().model.text
    large()
    index = rows.read_index(config)
    for max_captions in (10_000, 9):
        monkeypatch.setattr(truncation, "MAX_CAPTIONS", max_captions)
        monkeypatch.setattr(packed_index, "VERSION", max_captions)
        packed = packed_index.open_index(config)
        assert packed.count_truncated(text) == index.count_truncated(text)
    assert any("not looked up" in s for s in notes.describe_index(config, text))
    assert data.fingerprint(config)["same_images"]
    assert source.count_training_samples(config, 10)[0].stop == index.summary.split_counts["train"]
