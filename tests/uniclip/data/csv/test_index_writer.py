"""Writing of the index: rows become samples, classes and splits."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import pytest

from tests.helpers.csv_data import csv_config, write_csv, write_varied_csv
from uniclip import data
from uniclip.data.csv import index_writer, packed_index, row_arrays, rows, sample_rows
from uniclip.data.csv.faults import RowFault
from uniclip.data.csv.index_writer import IndexContent, write_index
from uniclip.data.csv.packed_split import CaptionLists, PackedSplit, SplitSizes
from uniclip.data.csv.split import PackedCsvSplit
from uniclip.data.split import SPLIT_NAMES
from uniclip.data.text import truncation
from uniclip.errors import UserError

HEADER = ("picture", "caption", "kind", "half")
TABLE = [
    ("1.png", "one", "b", "train"),
    ("2.png", "two", "a", "test"),
    ("./1.png", "uno", "b", "train"),
    ("3.png", "three", "", "val"),
    ("1.png", "one", "b", "train"),
    ("", "lost", "a", "train"),
]


def test_rows_become_samples_of_splits(tmp_path: Path, small_chunks: None) -> None:
    write_csv(tmp_path, TABLE, HEADER)
    target = tmp_path / "index"
    target.mkdir()
    config = csv_config(tmp_path, split_column="half")
    content = write_index(config, target)
    sizes = {
        "train": SplitSizes(num_samples=1, num_captions=2, path_bytes=5, caption_bytes=6),
        "validation": SplitSizes(num_samples=1, num_captions=1, path_bytes=5, caption_bytes=5),
        "test": SplitSizes(num_samples=1, num_captions=1, path_bytes=5, caption_bytes=3),
    }
    fault = RowFault(config.path, 7, "", "column 'picture' is empty", "train")
    assert content == IndexContent(
        splits=sizes,
        class_names=["a", "b"],
        label_counts=[(None, 1), ("b", 1), ("a", 1)],
        same_images=[["1.png", "./1.png"]],
        faults=[fault],
        num_distinct_captions=4,
        distinct_captions=["one", "uno", "two", "three"],
    )
    expected = {
        "train": ("1.png", 2, 1, ("one", "uno")),
        "validation": ("3.png", 5, -1, ("three",)),
        "test": ("2.png", 3, 0, ("two",)),
    }
    for name, (path, line, label, captions) in expected.items():
        split = PackedSplit(target / name, sizes[name])
        assert split.is_whole(has_labels=True)
        assert (list(split.paths), split.lines.tolist()) == ([path], [line])
        assert split.labels.tolist() == [label]
        assert list(CaptionLists(split, range(1))) == [captions]
    assert sorted(path.name for path in target.iterdir()) == ["test", "train", "validation"]


VARIED_INDEX = "394e8957f8de7f770d96762d4515328a"
"""Digest of the arrays of `write_varied_csv`, as the first version wrote them."""


@pytest.mark.parametrize("in_parts", [False, True])
def test_the_arrays_do_not_depend_on_the_parts(
    tmp_path: Path, request: pytest.FixtureRequest, in_parts: bool
) -> None:
    if in_parts:
        request.getfixturevalue("small_chunks")
    write_varied_csv(tmp_path)
    target = tmp_path / "index"
    target.mkdir()
    write_index(csv_config(tmp_path, max_broken=0.5), target)
    content = blake2b(digest_size=16)
    for path in sorted(target.rglob("*.npy")):
        content.update(f"{path.relative_to(target)}\n".encode() + path.read_bytes())
    assert content.hexdigest() == VARIED_INDEX


@pytest.mark.parametrize("rows_per_image", [1, 3])
def test_memory_is_a_few_bytes_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_image: int
) -> None:
    monkeypatch.setattr(row_arrays, "NUM_BUFFERED", 256)
    for module in (sample_rows, index_writer):
        monkeypatch.setattr(module, "PART_SIZE", 1024)
    monkeypatch.setattr(truncation, "MAX_CAPTIONS", 100)
    sizes, peaks = (4_000, 20_000), []
    for size in sizes:
        folder = tmp_path / str(size)
        (folder / "index").mkdir(parents=True)
        table = [(f"{i % (size // rows_per_image)}.png", f"text {i}", "a") for i in range(size)]
        write_csv(folder, table)
        tracemalloc.start()
        write_index(csv_config(folder), folder / "index")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / (sizes[1] - sizes[0]) < 48


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("./2.png", "due", "b", "test"), "line 8, column 'kind': ./2.png is 'b' here but 'a'"),
        (("2.png", "due", "a", "val"), "line 8, column 'half': 2.png is 'validation' here but"),
    ],
)
def test_rows_of_an_image_that_contradict_each_other_are_an_error(
    tmp_path: Path, row: tuple[str, ...], message: str
) -> None:
    write_csv(tmp_path, [*TABLE, row], HEADER)
    (tmp_path / "index").mkdir()
    with pytest.raises(UserError, match=f"{message}.* on line 3; give each image one"):
        write_index(csv_config(tmp_path, split_column="half"), tmp_path / "index")


@pytest.mark.parametrize("has_validation", [True, False])
def test_declared_splits_and_a_test_table(
    folder: Path, large: Callable[[], None], has_validation: bool
) -> None:
    words = ["train", "train", "val"] if has_validation else ["train"]
    table = [(f"{i}.png", f"text {i}", words[i % len(words)]) for i in range(30)]
    write_csv(folder, table, ("picture", "caption", "split"))
    test_path = folder / "test.csv"
    test_path.write_text("picture,caption\n" + "".join(f"{i}.png,t {i}\n" for i in range(30, 40)))
    config = csv_config(folder, label_column=None, split_column="split", test_path=str(test_path))
    expected = {n: list(data.open_split(config, n).sample_names) for n in SPLIT_NAMES}
    large()
    for name in SPLIT_NAMES:
        split = data.open_split(config, name)
        assert isinstance(split, PackedCsvSplit)
        assert list(split.sample_names) == expected[name]
    assert isinstance(split, PackedCsvSplit)
    assert split.csv_path == str(test_path)
    assert bool(expected["validation"])


def test_a_test_image_that_is_in_the_other_table_is_an_error(
    folder: Path, large: Callable[[], None]
) -> None:
    test_path = folder / "test.csv"
    test_path.write_text("picture,caption,kind\n99.png,t,a\n./5.png,t,a\n5.png,u,a\n")
    config = csv_config(folder, test_path=str(test_path))
    large()
    with pytest.raises(UserError) as expected:
        rows.read_index(config)
    with pytest.raises(UserError) as error:
        packed_index.open_index(config)
    assert str(error.value) == str(expected.value)
