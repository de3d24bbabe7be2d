"""Which columns are images, captions, classes and keys; what is said if they cannot be found."""

from __future__ import annotations

import pyarrow
import pytest
from pyarrow import parquet

from tests.helpers.embedded_data import CLASSES, embedded_config, make_rows, make_table
from tests.helpers.shards import encode_image
from uniclip.data.huggingface.columns import DataColumns, find_columns
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
        ({"image_column": "caption"}, "'caption' has no embedded images"),
        ({"caption_column": "title"}, r"no column 'title' .* the columns are 'image', 'caption'"),
        ({"caption_column": "score"}, "'score' has neither texts nor lists of texts"),
        ({"label_column": "class"}, r"no column 'class' \(data.label_column\)"),
        ({"label_column": "caption"}, "'caption' has neither texts nor numbers"),
        ({"key_column": "image"}, "'image' has neither texts nor numbers"),
        ({"key_column": "id"}, r"no column 'id' \(data.key_column\)"),
        ({"where": "similarity > 0.3"}, "reads similarity, which is no column"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(saved, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        find(saved, **changes)
    assert "\n" not in str(caught.value)
