"""Tables and folders of `datasets`, packed into shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from sweeps.cli.main import main
from tests.helpers.csv_data import csv_config, write_csv
from tests.helpers.shards import encode_image, shards_config
from uniclip import data
from uniclip.config import CsvData
from uniclip.data.webdataset import packing
from uniclip.data.webdataset.index import open_index
from uniclip.data.webdataset.split import open_all_images
from uniclip.errors import UserError

NUM_IMAGES = 24


def read_all(path) -> dict[str, bytes]:
    """Return caption -> image file of all samples of shards."""
    split = open_all_images(open_index(shards_config(path)), 16)
    return {split.captions[i][0]: split.read_bytes(i) for i in range(len(split))}


EXPECTED = {f"photo {n}": encode_image(n) for n in range(NUM_IMAGES)}


def write_table(folder: Path) -> Path:
    """Write a CSV of images, with rows that cannot be packed."""
    rows = []
    for n in range(NUM_IMAGES):
        (folder / f"a.{n}.png").write_bytes(encode_image(n))
        rows.append((f"a.{n}.png", f"photo {n}"))
    (folder / "text.png").write_text("no image")
    rows += [("text.png", "text"), ("absent.png", "absent"), (f"a.{n}.png", " ")]
    rows += [("b.png", "first"), ("b.png", "second")]
    (folder / "b.png").write_bytes(encode_image(99))
    write_csv(folder, rows, ("picture", "caption"))
    return folder / "data.csv"


def test_a_table_is_packed_and_its_images_are_unchanged(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(packing, "SAMPLES_PER_SHARD", 10)
    table, target = write_table(tmp_path), tmp_path / "shards"
    assert main(["data", "pack", f"data.path={table}", f"to={target}"]) == 0
    printed = capsys.readouterr().out
    assert "25 samples: train on them with data=webdataset" in printed
    for reason in (
        *("no image", "no caption", "neither JPEG, PNG nor WebP"),
        "another caption of the image before",
    ):
        assert f"1 rows are left out: {reason}" in printed
    assert sorted(path.name for path in target.iterdir()) == ["00000.tar", "00001.tar", "00002.tar"]
    assert read_all(target) == {**EXPECTED, "first": encode_image(99)}
    assert len(data.open_split(shards_config(target), "train")) > 10
    with pytest.raises(UserError, match="has files already"):
        packing.pack_table(CsvData(path=str(table)), target)


def make_batches() -> list[pyarrow.RecordBatch]:
    images = [{"bytes": content, "path": None} for content in EXPECTED.values()]
    table = pyarrow.table({"image": images, "text": list(EXPECTED), "other": [1] * NUM_IMAGES})
    return table.to_batches(max_chunksize=9)


def write_stream(path: Path) -> None:
    batches = make_batches()
    with pyarrow.OSFile(str(path), "wb") as sink:
        with pyarrow.ipc.new_stream(sink, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)


def write_file(path: Path) -> None:
    batches = make_batches()
    with pyarrow.OSFile(str(path), "wb") as sink:
        with pyarrow.ipc.new_file(sink, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)


def write_parquet(path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_batches(make_batches()), path, row_group_size=7)


@pytest.mark.parametrize(
    ("name", "write"),
    [("0.arrow", write_stream), ("0.arrow", write_file), ("0.parquet", write_parquet)],
)
def test_embedded_images_are_packed(tmp_path, name, write):
    folder = tmp_path / "dataset" / "train"
    folder.mkdir(parents=True)
    write(folder / name)
    config = CsvData(path=str(tmp_path / "dataset"))
    assert packing.pack_table(config, tmp_path / "shards") == {"packed": NUM_IMAGES}
    assert read_all(tmp_path / "shards") == EXPECTED


def test_what_cannot_be_packed_is_one_line(tmp_path):
    folder = tmp_path / "dataset"
    folder.mkdir()
    for message, section in (
        ("has no .arrow or .parquet file", {}),
        ("there is no column 'photo': name one of 'image', 'text'", {"image_column": "photo"}),
        ("column 'other' has no embedded images", {"image_column": "other"}),
    ):
        with pytest.raises(UserError, match=message):
            packing.pack_table(CsvData(path=str(folder), **section), tmp_path / "a")
        write_parquet(folder / "0.parquet")
    content = (folder / "0.parquet").read_bytes()
    (folder / "0.parquet").write_bytes(content[:100])
    with pytest.raises(UserError, match="0.parquet cannot be read"):
        packing.pack_table(CsvData(path=str(folder)), tmp_path / "a")


def test_images_of_a_table_have_no_two_splits(tmp_path):
    rows = [(f"{i % 3}.png", f"caption {i}") for i in range(9)]
    for i in range(3):
        (tmp_path / f"{i}.png").write_bytes(encode_image(i))
    write_csv(tmp_path, rows, ("picture", "caption"))
    packing.pack_table(csv_config(tmp_path, label_column=None), tmp_path / "shards")
    index = open_index(shards_config(tmp_path / "shards"))
    assert index.summary.num_repeated == 6
    assert len(np.unique(index.split_positions)) == 3
