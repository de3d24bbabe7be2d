"""The names of classes: of a file, by line or by key, or the keys themselves."""

from __future__ import annotations

import pytest

from uniclip.config import WebdatasetData
from uniclip.data.webdataset.class_names import find_class_names, list_name_files
from uniclip.errors import UserError


def find(tmp_path, text: str, keys: list[str], *, numbered: bool) -> dict[str, str]:
    path = tmp_path / "names.txt"
    path.write_text(text, encoding="utf-8")
    return find_class_names(str(path), keys, numbered=numbered)


def test_numbers_are_lines_and_folders_are_in_the_order_of_lines(tmp_path):
    numbers = find(tmp_path, "cat\ntree house\nbird\n\n", ["0", "2"], numbered=True)
    assert numbers == {"0": "cat", "2": "bird"}
    folders = find(tmp_path, "\ufeffcat\r\ntree house\r\n", ["n01", "n02"], numbered=False)
    assert folders == {"n01": "cat", "n02": "tree house"}


def test_a_file_with_tabs_states_the_key_of_each_name(tmp_path):
    text = "n02\tcat\nn01\ttree\nn03\tunused\n"
    for numbered in (False, True):
        assert find(tmp_path, text, ["n01", "n02"], numbered=numbered) == {
            "n01": "tree",
            "n02": "cat",
        }


def test_without_a_file_keys_are_names_unless_they_are_numbers():
    assert find_class_names("", ["cat", "dog"], numbered=True) == {"cat": "cat", "dog": "dog"}
    assert find_class_names("", ["1", "2"], numbered=False) == {"1": "1", "2": "2"}
    with pytest.raises(UserError, match="are numbers, such as 0: name the file of their names"):
        find_class_names("", ["0", "1"], numbered=True)


@pytest.mark.parametrize(
    ("text", "numbered", "message"),
    [
        ("cat\ndog\n", True, r"\(2 lines\) has no name for the class '2' of data.labelled_path"),
        ("cat\ndog\n", False, "has 2 names, but data.labelled_path 3 class folders"),
        ("0\tcat\n1\t\n2\tdog\n", True, "has no name for the class '1'"),
        (" \n", True, "is empty; write the name of a class a line"),
    ],
)
def test_a_file_that_names_not_all_classes_is_an_error(tmp_path, text, numbered, message):
    with pytest.raises(UserError, match=message):
        find(tmp_path, text, ["0", "1", "2"], numbered=numbered)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"names.txt cannot be read \(No such file"):
        find_class_names(str(tmp_path / "names.txt"), ["0"], numbered=True)


def test_one_file_is_for_all_sources_or_each_has_its_own():
    assert list_name_files(WebdatasetData(labelled_path="a::b")) == ["", ""]
    one = WebdatasetData(labelled_path="a::b", class_names_path="c")
    two = WebdatasetData(labelled_path="a::b", class_names_path="c::d")
    assert list_name_files(one) == ["c", "c"]
    assert list_name_files(two) == ["c", "d"]
