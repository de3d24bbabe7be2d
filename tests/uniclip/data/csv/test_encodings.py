"""The line of a byte that is not UTF-8, and the encoding that it looks like."""

from __future__ import annotations

import pytest

from uniclip.data.csv.encodings import describe_bad_byte, guess_encoding, is_binary

TEXTS = {
    "cp1252": ["un café très cher", "a naïve “quote” – dash", "straße über größe", "créée"],
    "cp1251": ["красная кошка сидит", "Собака"],
    "koi8-r": ["красная кошка сидит на столе"],
    "gb18030": ["一只红色的猫", "一个人在海滩上走 with a dog"],
    "big5": ["一隻紅色的貓坐在桌子上"],
    "shift_jis": ["赤い猫がいる"],
    "euc_jp": ["赤い猫がいる"],
    "euc_kr": ["빨간 고양이"],
}


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("rows", "bad_line"), [(200, 150), (500, 400), (5000, 3000)])
def test_the_line_is_that_of_the_byte(tmp_path, rows, bad_line, line_end):
    lines = ["picture,caption"] + [f"{i}.png,a caption of row {i} with words" for i in range(rows)]
    lines[bad_line - 1] = "1.png,a café"
    path = tmp_path / "data.csv"
    path.write_bytes(line_end.join(lines).encode("cp1252"))
    message = describe_bad_byte(str(path))
    assert f"data.csv line {bad_line}: character 12 is not UTF-8" in message
    assert "looks like cp1252 (byte 0xe9)" in message
    assert "iconv -f cp1252 -t UTF-8" in message


@pytest.mark.parametrize(("encoding", "text"), [(e, t) for e, ts in TEXTS.items() for t in ts])
def test_usual_encodings_are_recognized(tmp_path, encoding, text):
    path = tmp_path / "data.csv"
    path.write_bytes(f"picture,caption\n1.png,plain\n2.png,{text}\n".encode(encoding))
    assert guess_encoding(str(path)) == encoding
    assert "line 3: character" in describe_bad_byte(str(path))


def test_a_byte_that_cp1252_lacks_is_latin_1(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(b"picture,caption\n1.png,a\x81 b\xe9\n")
    assert guess_encoding(str(path)) == "latin-1"


def test_a_line_of_another_encoding_in_a_file_of_utf8(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes("猫\nстол\n".encode() + "un café\n".encode("cp1252"))
    assert "line 3: character 7 is not UTF-8 and looks like cp1252" in describe_bad_byte(str(path))


def test_a_file_that_was_cut_off(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes("1.png,猫\n2.png,猫".encode()[:-1])
    assert "line 2: the file ends inside a character" in describe_bad_byte(str(path))
    path.write_bytes(b"1.png,a\n2.png,un caf\xe9")
    assert "looks like cp1252" in describe_bad_byte(str(path))


def test_binary_files_are_told_apart():
    assert is_binary(b"PK\x03\x04\x14\0\x06\0")
    assert is_binary("picture,caption".encode("utf-16-le"))
    assert not is_binary("picture,caption\n猫".encode())


def test_a_byte_order_mark_is_no_character_of_the_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbfpicture,caption\na.png,caf\xe9")
    assert "looks like cp1252" in describe_bad_byte(str(path))
