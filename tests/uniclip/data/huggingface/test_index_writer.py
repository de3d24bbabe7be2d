"""The samples of a data set: splits, captions, classes, keys, filters, rows that cannot be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from tests.helpers.embedded_data import embedded_config, make_rows, make_table, save_to_disk
from tests.helpers.shards import encode_image
from uniclip import data
from uniclip.config import CsvData
from uniclip.data.huggingface.index import DatasetIndex, open_index
from uniclip.data.split import SPLIT_NAMES
from uniclip.errors import UserError
from uniclip.evaluate.benchmarks.huggingface import build_benchmark


def open_rows(tmp_path: Path, rows: dict, **changes) -> DatasetIndex:
    return open_index(embedded_config(save_to_disk(tmp_path / "d", make_table(rows)), **changes))


def list_names(index: DatasetIndex) -> dict[str, list[str]]:
    return {name: list(index.open_split(name).paths) for name in SPLIT_NAMES}


def test_splits_that_are_not_stated_are_held_out_by_a_hash(saved, saved_dict):
    """Of the training samples alone; an image is held out wherever its row is."""
    divided, stated = (list_names(open_index(embedded_config(p))) for p in (saved, saved_dict))
    assert sorted(sum(divided.values(), [])) == [f"{n:05d}.png" for n in range(60)]
    assert all(len(names) > 3 for names in divided.values())
    assert stated["test"] == [f"{n:05d}.png" for n in range(40, 60)]
    assert set(stated["train"] + stated["validation"]) == {f"{n:05d}.png" for n in range(40)}
    of_40 = {name for name in divided["train"] if name < "00040"}
    assert of_40 - set(stated["train"]) == set(stated["validation"]) & of_40


def test_splits_and_ids_are_those_of_the_same_images_in_a_table(saved, tmp_path):
    rows = ["picture,caption"]
    for n in range(60):
        (tmp_path / f"{n:05d}.png").write_bytes(encode_image(n))
        rows += [f"{n:05d}.png,one {n}", f"{n:05d}.png,two {n}"]
    (tmp_path / "data.csv").write_text("\n".join(rows))
    config = embedded_config(saved)
    table = CsvData(
        path=str(tmp_path / "data.csv"), image_size=16, validation_fraction=0.2, test_fraction=0.2
    )
    for name in SPLIT_NAMES:
        one, two = data.open_split(config, name), data.open_split(table, name)
        assert one.ids.tolist() == two.ids.tolist()
        assert list(one.captions) == list(two.captions)
        assert np.array_equal(one.load_pixels(np.arange(3)), two.load_pixels(np.arange(3)))


def test_at_most_so_many_samples_are_held_out(tmp_path):
    index = open_rows(tmp_path, make_rows(range(200)), max_held_out=16)
    sizes = {name: len(index.open_split(name)) for name in SPLIT_NAMES}
    assert (sizes["validation"], sizes["test"]) == (16, 16)
    assert index.content.num_unused == 200 - sum(sizes.values()) > 20


def test_rows_of_one_key_are_one_sample_with_all_captions(tmp_path):
    rows = make_rows([0, 1, 0, 2, 1, *range(3, 30)])
    rows["caption"][2] = ["three 0", "one 0", "  "]
    rows["id"] = [str(row["path"]) for row in rows["image"]]
    index = open_rows(tmp_path, rows, key_column="id")
    assert index.content.num_samples == 30
    captions = {}
    for name in SPLIT_NAMES:
        split = data.open_split(embedded_config(tmp_path / "d", key_column="id"), name)
        captions.update(zip(split.sample_names, split.captions))
    assert captions["00000.png"] == ("one 0", "two 0", "three 0")
    assert captions["00001.png"] == ("one 1", "two 1")
    assert index.content.num_repeated == 0
    rows["label"][2] = 2
    with pytest.raises(UserError, match=r"rows of 00000.png \(data.key_column=id\) differ"):
        open_rows(tmp_path / "differ", rows, key_column="id", label_column="label")


def test_the_number_0_is_a_key_and_an_empty_text_is_none(tmp_path):
    rows = make_rows([n // 2 for n in range(40)], id=[n // 2 for n in range(40)])
    names = sum(list_names(open_rows(tmp_path, rows, key_column="id")).values(), [])
    assert sorted(names, key=int) == [str(n) for n in range(20)]
    rows["id"] = ["", None, *(f"k{n // 2}" for n in range(2, 40))]
    index = open_rows(tmp_path / "texts", rows, key_column="id", max_broken=0.1)
    assert index.content.counts == {"column 'id' is empty": 2}
    assert index.content.num_samples == 19


def test_not_a_number_is_no_class(tmp_path):
    rows = make_rows(range(30), kind=[0.0, float("nan"), 1.0] * 10)
    assert open_rows(tmp_path, rows, label_column="kind").content.class_names == ["0.0", "1.0"]


def test_without_a_key_each_row_is_a_sample(tmp_path):
    rows = make_rows([0, 0, *range(2, 30)])
    for row in rows["image"][5:]:
        row["path"] = None
    index = open_rows(tmp_path, rows)
    assert index.content.num_samples == 30
    assert index.content.num_repeated == 1
    assert "row/000000029" in sum(list_names(index).values(), [])


def test_classes_have_the_names_of_the_features_or_their_own(tmp_path):
    rows = make_rows(range(30), kind=["b", None, "a"] * 10)
    rows["label"][3] = -1
    config = embedded_config(save_to_disk(tmp_path / "d", make_table(rows)), label_column="label")
    split = data.open_split(config, "train")
    assert split.class_names["label"] == ("cat", "dog", "owl")
    by_name = dict(zip(split.sample_names, split.labels["label"].tolist()))
    expected = {f"{n:05d}.png": {0: 2, 1: 0, 2: 1}[n % 3] for n in range(30)} | {"00003.png": -1}
    assert by_name.items() <= expected.items()
    assert split.training_labels is not None
    texts = data.open_split(embedded_config(tmp_path / "d", label_column="kind"), "train")
    assert texts.class_names["label"] == ("a", "b")
    assert set(texts.labels["label"].tolist()) == {-1, 0, 1}
    assert data.open_split(embedded_config(tmp_path / "d"), "train").labels == {}


def test_images_without_captions_get_those_of_their_class(tmp_path):
    rows = make_rows(range(30))
    del rows["caption"]
    rows["label"][4] = -1
    index = open_rows(
        tmp_path, rows, label_column="label", label_templates=("a {}.", "the {}."), max_broken=0.1
    )
    assert index.content.counts == {"no class": 1}
    captions = {c for name in SPLIT_NAMES for c in index.open_split(name).captions}
    assert captions == {
        f"{word} {name}." for word in ("a", "the") for name in ("owl", "cat", "dog")
    }


def test_the_condition_reads_columns_and_the_first_caption(tmp_path):
    rows = make_rows(range(30), width=[20] * 30, height=[*range(1, 31)])
    rows["score"][20] = None
    where = "score >= 0.1 and caption_words == 2 and aspect > 20 / 26"
    index, everything = (
        open_rows(tmp_path / name, rows, where=value) for name, value in (("a", where), ("b", None))
    )
    names, all_names = list_names(index), list_names(everything)
    assert (names["validation"], names["test"]) == (all_names["validation"], all_names["test"])
    expected = {f"{n:05d}.png" for n in range(10, 25) if n != 20}
    training = set(all_names["train"])
    assert set(names["train"]) == training & expected
    held_out = {*names["validation"], *names["test"]}
    assert held_out - expected
    assert index.content.num_filtered == len(training - expected - {"00020.png"})
    assert index.content.missing_fields == {"score": 1}
    with pytest.raises(
        UserError, match=rf"leaves none of {len(training)} training rows of .*; relax it"
    ):
        open_rows(tmp_path / "none", rows, where="score > 5")
    with pytest.raises(
        UserError, match=rf"d \({len(training)} without a score that can be compared\); relax it"
    ):
        open_rows(tmp_path / "texts", {**rows, "score": [None] * 30}, where="score > 5")


@pytest.mark.parametrize("key_column", [None, "group"])
def test_the_condition_changes_neither_stated_splits_nor_captions_nor_classes(
    tmp_path, saved_dict, key_column
):
    changes = {"label_column": "label", "where": "score < 0.1"}
    path = saved_dict
    if key_column:  # images of three rows, one of which at most is trained on
        rows = make_rows(range(90))
        groups, labels = [f"g{n // 3:02d}" for n in range(90)], [n // 3 % 3 for n in range(90)]
        rows |= {"group": groups, "label": labels}
        rows["score"] = [n % 3 / 4 for n in range(90)]
        path, changes["key_column"] = save_to_disk(tmp_path / "d", make_table(rows)), key_column
    config = embedded_config(path, **changes)
    index, everything = open_index(config), open_index(replace(config, where=None))
    for name in ("validation", "test"):
        split, expected = index.open_split(name), everything.open_split(name)
        assert (list(split.paths), list(split.captions)) == (
            list(expected.paths),
            list(expected.captions),
        )
        assert np.array_equal(split.labels, expected.labels)
    training, all_training = index.open_split("train"), everything.open_split("train")
    assert set(training.paths) <= set(all_training.paths)
    num_captions, num_all = (sum(map(len, s.captions)) for s in (training, all_training))
    assert 0 < num_captions < num_all
    assert len(training) == len(all_training) or not key_column
    assert index.content.class_names == everything.content.class_names
    protocols = [build_benchmark(c).build_protocol() for c in (config, replace(config, where=None))]
    assert protocols[0] == protocols[1]


def test_rows_that_cannot_be_used_are_counted_and_named(tmp_path):
    rows = make_rows(range(40))
    rows["image"][3] = None
    rows["caption"][5], rows["caption"][6], rows["caption"][7] = None, ["", " "], []
    index = open_rows(tmp_path, rows, max_broken=0.1)
    assert index.content.counts == {"no image": 1, "no caption": 3}
    path = tmp_path / "d" / "data-00000-of-00001.arrow"
    assert index.content.named[:2] == [f"{path} row 4: no image", f"{path} row 6: no caption"]
    assert index.content.num_samples == 36
    with pytest.raises(
        UserError, match=r"4 of 40 rows of .* more than data.max_broken=0.05 allows"
    ):
        open_index(embedded_config(tmp_path / "d", max_broken=0.05))
    with pytest.raises(UserError, match="has no row that can be used"):
        open_rows(tmp_path / "empty", make_rows([]))


def write_parquet(tmp_path: Path, rows: dict, **options) -> str:
    """Write rows as a Parquet file in groups of 8 rows; return its path."""
    path = tmp_path / "rows.parquet"
    parquet.write_table(make_table(rows), path, row_group_size=8, **options)
    return str(path)


@pytest.mark.parametrize("write_statistics", [True, False])
def test_rows_without_an_image_in_a_parquet_file_are_counted(tmp_path, write_statistics):
    rows = make_rows(range(40))
    rows["image"][3], rows["image"][30]["bytes"] = None, None
    rows["image"][31] = {"bytes": b"", "path": "31.png"}
    path = write_parquet(tmp_path, rows, write_statistics=write_statistics)
    index = open_index(embedded_config(path, max_broken=0.1))
    assert index.content.counts == {"no image": 3}
    assert index.content.named == [f"{path} row {n}: no image" for n in (4, 31, 32)]
    assert index.content.num_samples == 37
    with pytest.raises(UserError, match="3 of 40 rows of .* more than data.max_broken=0.05 allows"):
        open_index(embedded_config(path, max_broken=0.05))


@pytest.mark.parametrize("statistics", [True, False])
def test_an_empty_image_among_large_ones_is_counted(tmp_path, statistics):
    """Of images of more than 4 kB pyarrow tells no smallest one; the footer states it."""
    rows = make_rows(range(40))
    for image in rows["image"]:
        image["bytes"] += bytes(5000)
    rows["image"][3]["bytes"] = b""
    path = write_parquet(tmp_path, rows, write_statistics=statistics)
    group = parquet.read_metadata(path).row_group(0).column(0)
    assert group.path_in_schema == "image.bytes"
    assert group.statistics is None or not group.statistics.has_min_max
    index = open_index(embedded_config(path, max_broken=0.1))
    assert index.content.named == [f"{path} row 4: no image"]


def test_images_are_read_only_where_one_may_be_missing(tmp_path, monkeypatch):
    rows = make_rows(range(40))
    rows["image"][20] = None
    read_row_group, read = parquet.ParquetFile.read_row_group, []

    def note(self, number, columns, **options):
        read.extend(number for name in columns if name == "image.bytes")
        return read_row_group(self, number, columns=columns, **options)

    monkeypatch.setattr(parquet.ParquetFile, "read_row_group", note)
    open_index(embedded_config(write_parquet(tmp_path, rows), max_broken=0.1))
    assert read == [2]


def test_a_parquet_file_of_paths_alone_has_no_row_that_can_be_used(tmp_path):
    rows = make_rows(range(20))
    for image in rows["image"]:
        image["bytes"] = None
    with pytest.raises(UserError, match=r"no row that can be used \(.*parquet row 1: no image"):
        open_index(embedded_config(write_parquet(tmp_path, rows)))
