"""The index of large tables in files: the samples and errors are those of `read_index`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.csv_data import csv_config, write_csv, write_varied_csv
from tests.helpers.small_runs import tiny
from uniclip import data
from uniclip.config import CsvData
from uniclip.data.csv import notes, packed_index, rows
from uniclip.data.csv.index_writer import IndexContent, write_index
from uniclip.data.csv.split import PackedCsvSplit
from uniclip.data.split import SPLIT_NAMES
from uniclip.errors import DataChangedError, UserError

CONFIGS: dict[str, dict[str, Any]] = {
    "one table": {},
    "no labels": {"label_column": None, "validation_fraction": 0.5},
    "no test images": {"test_fraction": 0.0},
}


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_samples_are_those_of_the_rows(
    folder: Path, large: Callable[[], None], changes: dict[str, Any]
) -> None:
    write_varied_csv(folder)
    large()
    config = csv_config(folder, max_broken=0.5, **changes)
    index = rows.read_index(config)
    assert not index.are_looked_up
    packed = packed_index.open_index(config)
    assert packed.summary == index.summary
    assert len(index.summary.same_images) > 20
    class_names = sorted({s.label for s in index.samples if s.label})
    assert packed.content.class_names == (class_names if config.label_column else [])
    for name in SPLIT_NAMES:
        samples = [s for s in index.samples if index.get_split(s) == name]
        split = data.open_split(config, name)
        assert isinstance(split, PackedCsvSplit)
        assert list(split.captions) == [tuple(s.captions) for s in samples]
        assert list(split.sample_names) == [s.path for s in samples]
        assert list(split.line_numbers) == [s.line for s in samples]
        assert list(split.image_paths) == [str(p) for p in rows.locate_images(samples)]
        numbers = [class_names.index(s.label) if s.label else -1 for s in samples]
        if config.label_column:
            assert split.training_labels is not None
            assert split.training_labels.tolist() == split.labels["label"].tolist() == numbers
        if samples:
            assert split.name_image(0) == (
                f"{config.path} line {samples[0].line}: image {split.image_paths[0]}"
            )
            assert list(split.captions[1:3]) == [tuple(s.captions) for s in samples[1:3]]


ERRORS = {
    "an image with two labels": "1.png,one,a\n2.png,two,a\n1.png,uno,b\n",
    "no row": "",
    "too many fields": "1.png,one,a\n2.png,two,a,b\n",
    "too many faults": "".join(f"{i}.png,{' ' if i % 2 else 'x'},a\n" for i in range(40)),
}


@pytest.mark.parametrize("table", ERRORS.values(), ids=ERRORS)
def test_errors_are_those_of_the_rows(folder: Path, large: Callable[[], None], table: str) -> None:
    (folder / "data.csv").write_text(f"picture,caption,kind\n{table}")
    large()
    config = csv_config(folder)
    with pytest.raises(UserError) as expected:
        rows.read_index(config)
    for _ in range(2):
        with pytest.raises(UserError) as error:
            packed_index.open_index(config)
        assert str(error.value) == str(expected.value)


def test_a_parquet_file_has_the_same_samples(folder: Path, large: Callable[[], None]) -> None:
    from pyarrow import csv, parquet

    large()
    config = csv_config(folder)
    expected = data.open_split(config, "train")
    parquet.write_table(csv.read_csv(folder / "data.csv"), folder / "data.parquet")
    split = data.open_split(csv_config(folder, path=str(folder / "data.parquet")), "train")
    assert isinstance(split, PackedCsvSplit)
    assert np.array_equal(split.ids, expected.ids)
    assert list(split.captions) == list(expected.captions)


def test_the_rows_are_read_once_until_the_table_changes(
    folder: Path,
    large: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    large()
    config = csv_config(folder)
    before = data.open_split(config, "train")
    (message,) = capsys.readouterr().err.splitlines()
    assert message.startswith(f"reading {config.path} (")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a row was read")

    with monkeypatch.context() as patch:
        patch.setattr(packed_index, "write_index", refuse)
        assert np.array_equal(data.open_split(config, "train").ids, before.ids)
        notes.describe_index(config, tiny().model.text)
        with pytest.raises(AssertionError, match="a row was read"):
            data.open_split(csv_config(folder, test_fraction=0.1), "train")
    write_csv(folder, [(f"{i}.png", "another", "a") for i in range(39)])
    assert set(data.open_split(config, "train").captions) == {("another",)}


@pytest.mark.parametrize("file", ["index.json", "train/ids.npy", "test/captions.npy"])
def test_a_damaged_index_is_written_again(
    folder: Path, large: Callable[[], None], file: str
) -> None:
    large()
    config = csv_config(folder)
    index = packed_index.open_index(config)
    whole = list(data.open_split(config, "test").captions)
    for damage in (lambda path: path.write_bytes(b""), Path.unlink):
        damage(index.folder / file)
        packed_index._recall_content.cache_clear()
        assert list(data.open_split(config, "test").captions) == whole
        assert not (index.folder / "rows").exists()


def test_a_table_that_changes_while_it_is_read_is_an_error(
    folder: Path, large: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    large()

    def write_and_change(config: CsvData, target: Path) -> IndexContent:
        written = write_index(config, target)
        with open(folder / "data.csv", "a") as stream:
            stream.write("1.png,late,b\n")
        return written

    monkeypatch.setattr(packed_index, "write_index", write_and_change)
    with pytest.raises(DataChangedError, match="was changed while it was read"):
        packed_index.open_index(csv_config(folder))
