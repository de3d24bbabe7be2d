"""Which columns are images, captions, classes and keys; what is said if they cannot be found."""

from __future__ import annotations

import pyarrow
import pytest
from pyarrow import parquet

from tests.helpers.embedded_data import CLASSES, embedded_config, make_rows, make_table
from tests.helpers.shards import encode_image
from uniclip.data.huggingface.columns import DataColumns, find_columns, require_same_types
from uniclip.data.huggingface.folder import list_files
from uniclip.errors import UserError


def find(path: object, **changes: object) -> DataColumns:
    config = embedded_config(str(path), **changes)
    return find_columns(config, list_files(config.path))


def test_usual_columns_and_the_names_of_classes_are_recognized(saved, hub_folder):
    for path in (saved, hub_folder):
        columns = find(path, label_column="label", where="score > 0.1 and aspect < 2")
        assert columns == DataColumns(
            image="image.bytes",
            caption="caption",
            label="label",
            label_names=CLASSES,
            key=None,
            fields=("score",),
        )
    assert find(saved).label_names == ()


def test_names_of_classes_are_in_the_file_beside_the_data_too(tmp_path, saved):
    table = make_table(make_rows(range(3)), with_features=False)
    (tmp_path / "other" / "data").mkdir(parents=True)
    parquet.write_table(table, tmp_path / "other" / "data" / "0.parquet")
    assert find(tmp_path / "other", label_column="label").label_names == ()
    info = list_files(saved).files[0].path.rpartition("/")[0] + "/dataset_info.json"
    with open(info) as stream:
        (tmp_path / "other" / "dataset_info.json").write_text(stream.read())
    assert find(tmp_path / "other", label_column="label").label_names == CLASSES


def write(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(columns), path)
    return path


def test_columns_of_plain_bytes_and_of_several_images(tmp_path):
    content = [encode_image(0)]
    path = write(tmp_path / "a.parquet", jpg=content, txt=["a cat"], other=[1])
    assert (find(path).image, find(path).caption) == ("jpg", "txt")
    both = write(tmp_path / "b.parquet", mask=content, image=content, text=["a"])
    assert find(both).image == "image"
    assert find(both, image_column="mask").image == "mask"
    unusual = write(tmp_path / "c.parquet", left=content, right=content, text=["a"])
    with pytest.raises(UserError, match=r"several columns of images \(left, right\)"):
        find(unusual)


def test_without_captions_a_column_of_classes_is_needed(tmp_path):
    path = write(tmp_path / "a.parquet", image=[encode_image(0)], label=[1])
    assert find(path, label_column="label").caption is None
    with pytest.raises(UserError, match=r"data.caption_column, or classes with data.label_column"):
        find(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_column": "picture"}, r"no column 'picture' \(data.image_column\)"),
        (
            {"image_column": "caption"},
            "'caption' has no embedded images .* the columns are 'image'",
        ),
        ({"caption_column": "title"}, r"no column 'title' .* the columns are 'image', 'caption'"),
        ({"caption_column": "score"}, "'score' has neither texts nor lists of texts"),
        ({"label_column": "class"}, r"no column 'class' \(data.label_column\)"),
        ({"label_column": "caption"}, "'caption' has neither texts nor numbers"),
        ({"key_column": "image"}, "'image' has neither texts nor numbers"),
        ({"key_column": "id"}, r"no column 'id' \(data.key_column\)"),
        ({"where": "similarity > 0.3"}, "reads similarity, which is no column"),
        ({"where": "image > 1"}, "reads image, which has neither texts nor numbers"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(saved, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        find(saved, **changes)
    assert "\n" not in str(caught.value)


def test_columns_of_one_name_are_refused(tmp_path):
    table = make_table(make_rows(range(2)))
    repeated = table.append_column("caption", table.column("caption"))
    parquet.write_table(repeated, tmp_path / "a.parquet")
    with pytest.raises(UserError, match="has several columns 'caption'"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("image", None, "no column 'image', as other files"),
        ("image", [encode_image(0)], r"'image' has another type \(binary\)"),
        ("image", ["http://images/0.png"], r"'image' has another type \(string\)"),
        ("caption", [7], r"'caption' has another type \(int64\)"),
        ("label", [[1]], r"'label' has another type \(list"),
        ("score", [[0.5]], r"'score' has another type \(list"),
    ],
)
def test_files_with_other_columns_are_refused(tmp_path, saved, name, values, message):
    columns = find(saved, label_column="label", where="score > 0.1")
    table = make_table(make_rows(range(1))).drop_columns([name])
    if values is not None:
        table = table.append_column(name, pyarrow.array(values))
    parquet.write_table(table, tmp_path / "other.parquet")
    (file,) = list_files(str(tmp_path / "other.parquet")).files
    with pytest.raises(UserError, match=message):
        require_same_types(file, columns)


def test_files_may_have_one_caption_or_none_where_others_have_lists(tmp_path, saved):
    columns = find(saved, label_column="label")
    for values in (["a cat"], [None]):
        table = make_table(make_rows(range(1))).drop_columns(["caption"])
        table = table.append_column("caption", pyarrow.array(values))
        parquet.write_table(table, tmp_path / "other.parquet")
        (file,) = list_files(str(tmp_path / "other.parquet")).files
        require_same_types(file, columns)


def test_the_columns_are_listed_where_none_has_images(tmp_path):
    path = write(tmp_path / "a.parquet", image=["http://images/0.png"], caption=["a cat"])
    with pytest.raises(UserError, match="the columns are 'image', 'caption'"):
        find(path, image_column="image")
