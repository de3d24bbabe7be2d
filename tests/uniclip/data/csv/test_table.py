"""Reading of tables as spreadsheets and other tools write them."""

from __future__ import annotations

import pytest

from uniclip.data.csv.table import detect_format, iterate_rows
from uniclip.errors import UserError

WANTED = ("picture", "caption")


def read(path, content, separator=None):
    """Write a table and return its format and its rows with their lines."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = detect_format(str(path), separator, WANTED)
    return table, list(iterate_rows(table))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.csv"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_separators_line_ends_and_quotes(path, separator, line_end, quote):
    rows = [["picture", "caption", "x"], ["1.png", "a dog", ""], ["2.png", "a cat", "3"]]
    lines = [separator.join(f"{quote}{field}{quote}" for field in row) for row in rows]
    table, found = read(path, line_end.join(lines))
    assert (table.separator, table.header) == (separator, ("picture", "caption", "x"))
    assert found == [(2, rows[1]), (3, rows[2])]


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("utf-8-sig", ""), ("utf-16", ""), ("utf-16-be", "\ufeff"), ("utf-16-le", "\ufeff")],
)
def test_a_byte_order_mark_names_the_encoding(path, encoding, mark):
    content = f"{mark}picture;caption\r\n1.png;eine Straße, 猫\r\n".encode(encoding)
    _, rows = read(path, content)
    assert rows == [(2, ["1.png", "eine Straße, 猫"])]


def test_the_header_decides_on_the_separator(path):
    content = "picture;caption\n1.png;red, green, blue, and a | b\n"
    table, rows = read(path, content)
    assert table.separator == ";"
    assert rows == [(2, ["1.png", "red, green, blue, and a | b"])]


def test_the_first_line_of_a_spreadsheet_may_state_the_separator(path):
    table, rows = read(path, "sep=;\r\npicture;caption\r\n1.png;a\r\n")
    assert (table.separator, table.header_line, rows) == (";", 2, [(3, ["1.png", "a"])])


def test_spaces_around_names_and_fields_and_a_quote_after_one(path):
    table, rows = read(path, '"picture" , caption ,\n1.png , "a, b",\n')
    assert table.header == ("picture", "caption", "")
    assert rows == [(2, ["1.png", "a, b", ""])]


def test_blank_lines_and_surplus_empty_fields(path):
    _, rows = read(path, "\n\npicture,caption\n\n1.png,a,,\n , \n2.png,b\n")
    assert rows == [(5, ["1.png", "a"]), (7, ["2.png", "b"])]


def test_a_row_of_several_lines_is_named_by_its_first(path):
    _, rows = read(path, 'picture,caption\n1.png,"a\nb"\n2.png,c\n')
    assert rows == [(2, ["1.png", "a\nb"]), (4, ["2.png", "c"])]
    with pytest.raises(UserError, match=r"line 4: 3 fields, .*header \(2\).* commas in double"):
        read(path, 'picture,caption\n1.png,"a\nb"\n2.png,c,d\n')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('picture,caption\n1.png,a\n2.png,"b\n3.png,c\n', "line 3: a double quote .* not closed"),
        ('picture,caption\n1.png,"red" car\n', "line 2: the double quotes of this row"),
        ("picture\tcaption\n1.png\ta\tb\n", "line 2: 3 fields, .* tabs in double quotes"),
        ("", "line 1: it is empty"),
        (b"\xef\xbb\xbf\n \n", "line 1: it is empty"),
        ("picture,caption\n1.png,a".encode("utf-16-le"), "not a text file in UTF-8"),
        (b"PK\x03\x04\x14\0\x06\0", "not a text file in UTF-8"),
        (b"picture,caption\n1.png,caf\xe9\n", "line 2: character 10 is not UTF-8"),
        (b"\xff\xfep\0i\0c\0t\0\n\0x", "not text in UTF-16"),
    ],
)
def test_errors_are_one_line_with_the_place(path, content, message):
    with pytest.raises(UserError, match=message) as error:
        read(path, content)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_folder_and_a_missing_file_are_one_line(tmp_path):
    for place in (tmp_path, tmp_path / "nothing.csv"):
        with pytest.raises(UserError, match="cannot be read"):
            detect_format(str(place), None, WANTED)


def test_a_repeated_column_is_refused_where_it_is_read(path):
    table, _ = read(path, "picture,caption,x, caption,x\n1.png,a,1,b,2\n")
    assert table.find_column("picture") == 0
    with pytest.raises(UserError, match=r"line 1: the column 'caption' is repeated \(columns 2 a"):
        table.find_column("caption")
