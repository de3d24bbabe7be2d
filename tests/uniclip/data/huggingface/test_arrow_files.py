"""Groups of rows of Arrow and Parquet files, and where their images are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from tests.helpers.embedded_data import TYPES, make_rows, make_table, write_stream
from tests.helpers.shards import encode_image
from uniclip.data.huggingface.arrow_files import iterate_groups, read_schema
from uniclip.data.huggingface.folder import list_files
from uniclip.errors import UserError


def read_places(path: Path, image: str = "image.bytes") -> list[bytes]:
    """Return the images at the places that are found, b"" for none."""
    (file,) = list_files(str(path)).files
    content = path.read_bytes()
    return [
        content[start : start + length]
        for group in iterate_groups(file, image, [])
        for start, length in zip(group.starts.tolist(), group.lengths.tolist())
    ]


def write_file(path: Path, table: pyarrow.Table) -> None:
    with pyarrow.OSFile(str(path), "wb") as sink:
        with pyarrow.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=4)


def test_images_are_found_where_they_are_in_the_file(tmp_path):
    """In both formats of Arrow, and in tables that are slices of larger ones."""
    table = make_table(make_rows(range(25))).slice(3)
    expected = [encode_image(n) for n in range(3, 25)]
    write_stream(tmp_path / "stream.arrow", table, 9)
    write_file(tmp_path / "file.arrow", table)
    for name in ("stream.arrow", "file.arrow"):
        assert read_places(tmp_path / name) == expected


@pytest.mark.parametrize("kind", [pyarrow.binary(), pyarrow.large_binary()])
def test_columns_of_plain_bytes(tmp_path, kind):
    images = [encode_image(1), None, encode_image(2)]
    write_stream(tmp_path / "a.arrow", pyarrow.table({"jpg": pyarrow.array(images, kind)}))
    assert read_places(tmp_path / "a.arrow", "jpg") == [images[0], b"", images[2]]


def test_images_that_are_null_have_no_place(tmp_path):
    rows = make_rows(range(4))
    rows["image"][1], rows["image"][2] = None, {"bytes": None, "path": "x.png"}
    write_stream(tmp_path / "a.arrow", make_table(rows))
    assert read_places(tmp_path / "a.arrow") == [encode_image(0), b"", b"", encode_image(3)]
    (file,) = list_files(str(tmp_path)).files
    (group,) = iterate_groups(file, "image.bytes", ["caption", "score"])
    assert group.image_paths == ["00000.png", None, "x.png", "00003.png"]
    assert group.values["caption"][3] == ["one 3", "two 3"]


def test_row_groups_of_parquet_are_read_without_their_images(tmp_path, monkeypatch):
    rows = make_rows(range(10))
    rows["image"][4]["path"] = None
    parquet.write_table(make_table(rows), tmp_path / "a.parquet", row_group_size=4)
    (file,) = list_files(str(tmp_path)).files
    read_columns = []
    read_row_group = parquet.ParquetFile.read_row_group

    def record(self, number, columns, **options):
        read_columns.append(columns)
        return read_row_group(self, number, columns, **options)

    monkeypatch.setattr(parquet.ParquetFile, "read_row_group", record)
    groups = list(iterate_groups(file, "image.bytes", ["label"]))
    assert [len(group) for group in groups] == [4, 4, 2]
    assert [label for group in groups for label in group.values["label"]] == rows["label"]
    assert groups[1].image_paths[:2] == [None, "00005.png"]
    assert not np.any(groups[0].lengths)
    assert read_columns == [["label", "image.path"]] * 3
    assert read_schema(file).metadata[b"huggingface"]


def test_files_that_cannot_be_read_are_named_in_one_line(tmp_path):
    table = make_table(make_rows(range(4)))
    write_stream(tmp_path / "cut.arrow", table)
    (tmp_path / "cut.arrow").write_bytes((tmp_path / "cut.arrow").read_bytes()[:3000])
    (tmp_path / "no.arrow").write_bytes(b"this is no Arrow file")
    (tmp_path / "no.parquet").write_bytes(b"nor this Parquet")
    (tmp_path / "empty.arrow").write_bytes(b"")
    options = pyarrow.ipc.IpcWriteOptions(compression="zstd")
    with pyarrow.OSFile(str(tmp_path / "small.arrow"), "wb") as sink:
        with pyarrow.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
    for name, reason in (
        ("cut.arrow", "cannot be read"),
        ("no.arrow", "cannot be read"),
        ("no.parquet", "cannot be read"),
        ("empty.arrow", "cannot be read"),
        ("small.arrow", "is compressed"),
    ):
        (file,) = list_files(str(tmp_path / name)).files
        with pytest.raises(UserError, match=reason) as caught:
            list(iterate_groups(file, "image.bytes", ["caption"]))
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("image", [None, {"bytes": None, "path": "a.png"}])
def test_record_batches_without_any_image_are_not_taken_for_compressed_ones(tmp_path, image):
    rows = make_rows(range(8), image=[image] * 4 + make_rows(range(4, 8))["image"])
    write_stream(tmp_path / "a.arrow", make_table(rows), 4)
    assert read_places(tmp_path / "a.arrow") == [b""] * 4 + [encode_image(n) for n in range(4, 8)]


@pytest.mark.parametrize("name", ["ima.ge", "0.jpg"])
def test_names_of_columns_may_have_a_dot(tmp_path, name):
    rows = make_rows(range(3))
    images = pyarrow.array(rows["image"], TYPES["image"])
    is_nested = name == "ima.ge"
    table = pyarrow.table({name: images if is_nested else images.field("bytes")})
    write_stream(tmp_path / "a.arrow", table)
    image = f"{name}.bytes" if is_nested else name
    assert read_places(tmp_path / "a.arrow", image) == [encode_image(n) for n in range(3)]
    parquet.write_table(table, tmp_path / "a.parquet")
    (file,) = list_files(str(tmp_path / "a.parquet")).files
    (group,) = iterate_groups(file, image, [])
    assert group.image_paths == [f"{n:05d}.png" if is_nested else None for n in range(3)]


def test_texts_that_are_no_utf8_are_an_error_of_their_file(tmp_path):
    texts = pyarrow.array([b"\xff\xfe"], pyarrow.binary()).view(pyarrow.string())
    rows = make_rows(range(1))
    table = make_table(rows).drop_columns(["caption"]).append_column("caption", texts)
    write_stream(tmp_path / "a.arrow", table)
    parquet.write_table(table, tmp_path / "a.parquet")
    for name in ("a.arrow", "a.parquet"):
        (file,) = list_files(str(tmp_path / name)).files
        with pytest.raises(UserError, match=f"{name} cannot be read .*utf-8"):
            list(iterate_groups(file, "image.bytes", ["caption"]))
