"""Rows in arrays on disk, and which of them are one image."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from uniclip.data.csv.row_arrays import (
    NUMBERS,
    RowArrays,
    RowWriter,
    TextWriter,
    map_texts,
)
from uniclip.io.packed_texts import PackedTexts

CAPTIONS = ["one", "", "caf\u00e9 \u4f60", "a file \udcff", "one"] * 4


def write_rows(folder: Path, num_rows: int) -> RowArrays:
    """Write rows, two for each image; return them."""
    with RowWriter(folder) as writer:
        for i in range(num_rows):
            name = f"{i // 2}.png"
            path = name if i % 2 else f"./{name}"
            writer.add(path, CAPTIONS[i], name, splits=i % 3, labels=-1, tables=i % 2, lines=i + 2)
    return RowArrays(folder)


@pytest.mark.parametrize("num_rows", [0, 6, 7, 20])
def test_rows_are_read_as_they_were_added(
    tmp_path: Path, small_chunks: None, num_rows: int
) -> None:
    rows = write_rows(tmp_path / "rows", num_rows)
    assert list(rows.captions) == CAPTIONS[:num_rows]
    assert list(rows.paths) == [f"{'' if i % 2 else './'}{i // 2}.png" for i in range(num_rows)]
    assert rows.get("lines").tolist() == list(range(2, num_rows + 2))
    assert rows.get("tables").tolist() == [i % 2 for i in range(num_rows)]
    assert rows.get("labels").tolist() == [-1] * num_rows
    assert rows.get("splits").tolist() == [i % 3 for i in range(num_rows)]
    assert {n: rows.get(n).dtype for n in NUMBERS} == {n: np.dtype(t) for n, t in NUMBERS.items()}
    file_keys, path_keys = rows.get("file_keys"), rows.get("path_keys")
    assert np.array_equal(file_keys[1::2], file_keys[::2][: num_rows // 2])
    assert len(np.unique(file_keys)) == num_rows // 2 + num_rows % 2
    assert len(np.unique(path_keys)) == num_rows
    rows.remove()
    assert not (tmp_path / "rows").exists()


def test_rows_of_a_writer_that_fails_are_not_complete(tmp_path: Path) -> None:
    def write() -> None:
        with RowWriter(tmp_path / "rows") as writer:
            writer.add("1.png", "one", "1", lines=2, tables=0, labels=0, splits=0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert len(RowArrays(tmp_path / "rows").get("lines")) == 0
    with pytest.raises(FileExistsError):
        RowWriter(tmp_path / "rows")


def test_texts_are_copied_in_the_order_of_the_rows(tmp_path: Path, small_chunks: None) -> None:
    chosen = np.array([19, 0, 3, 3, 2, 1, 0, 8, 7, 4])
    with ExitStack() as stack:
        writer = TextWriter(stack, tmp_path, "texts", np.uint32)
        writer.append(["first"])
        writer.copy(PackedTexts.pack(CAPTIONS), chosen)
    texts = map_texts(tmp_path, "texts")
    assert list(texts) == ["first", *(CAPTIONS[i] for i in chosen)]
    assert texts.ends.dtype == np.uint32
    assert texts.ends[:2].tolist() == [5, 8]
