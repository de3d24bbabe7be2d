"""The columns of a table, and the advice where they have other names."""

from __future__ import annotations

import pytest

from uniclip.config import CsvData
from uniclip.data.csv.columns import TableRequest, find_columns
from uniclip.errors import UserError


@pytest.fixture
def find(tmp_path):
    """Return a function that writes a header and returns the columns found."""

    def find(header, evaluation=False, **keys):
        path = str(tmp_path / "data.csv")
        with open(path, "w") as stream:
            stream.write(f"{header}\n")
        request = TableRequest.from_config(CsvData(path=path, **keys), path)
        return find_columns(TableRequest.for_evaluation(path) if evaluation else request)

    return find


def test_columns_in_any_order(find):
    columns = find("kind,caption,id,picture", label_column="kind")
    assert columns.positions == {"image_column": 3, "caption_column": 1, "label_column": 0}
    assert columns.substitutes == {}


def test_the_columns_of_open_clip_are_recognized(find):
    columns = find("filepath\ttitle")
    assert columns.positions == {"image_column": 0, "caption_column": 1}
    assert columns.substitutes == {"image_column": "filepath", "caption_column": "title"}
    assert find("title,filepath", evaluation=True).positions["image_column"] == 1
    assert find("picture,filepath,title,caption").positions == {
        "image_column": 0,
        "caption_column": 3,
    }
    with pytest.raises(UserError, match="no column 'img'"):
        find("filepath,title", image_column="img")


@pytest.mark.parametrize(
    ("header", "keys", "message"),
    [
        (
            "image_name| comment_number| comment",
            {},
            "did you mean image_name and comment.* data.image_column=image_name "
            "data.caption_column=comment",
        ),
        ("Picture,Caption", {}, "data.image_column=Picture data.caption_column=Caption"),
        (
            "picture,captoin",
            {},
            r"'caption' \(data.caption_column\): did you mean captoi",
        ),
        (
            "picture,caption,my class",
            {"label_column": "my clas"},
            "data.label_column=\"'my class'\"",
        ),
        ("picture,caption,subset", {"split_column": "split"}, "data.split_column=subset"),
        ("a,b", {}, "the columns are 'a', 'b'"),
        ("picture:caption", {}, "only column is 'picture:caption'.*data.separator"),
        ("0.png,a dog", {}, "looks like a row; write the header 'picture,caption' above"),
        ("picture\tcaption", {"separator": "comma"}, "separated by tabs, not by ','"),
        ("picture,caption,caption", {}, "'caption' is repeated"),
        ("picture,caption,split, split", {"split_column": "split"}, "'split' is repeated"),
    ],
)
def test_advice(find, header, keys, message):
    with pytest.raises(UserError, match=f"data.csv line 1: .*{message}"):
        find(header, **keys)


def test_advice_for_an_evaluation_set_names_no_key(find):
    with pytest.raises(UserError, match="Rename 'image' to 'picture' and 'text' to 'caption'") as e:
        find("image,text", evaluation=True)
    assert "data." not in str(e.value).replace("data.csv", "")


@pytest.mark.parametrize("separator", ["colon", "", "a", "7", ".", " ", '"', "ab"])
def test_what_cannot_separate_is_refused(separator):
    with pytest.raises(UserError, match=r"data\.separator="):
        CsvData(separator=separator)


@pytest.mark.parametrize(
    ("separator", "character"),
    [("tab", "\t"), ("\\t", "\t"), ("\t", "\t"), ("semicolon", ";"), (":", ":"), ("auto", None)],
)
def test_names_of_separators(separator, character):
    assert CsvData(separator=separator).separator_character == character
