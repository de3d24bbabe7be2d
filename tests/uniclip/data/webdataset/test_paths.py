"""Which shards a path names: folders, files, globs, brace ranges, several sources."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import braceexpand
import pytest

from uniclip.data.webdataset.paths import (
    describe_compressed,
    expand_braces,
    list_shards,
    remember_listings,
)
from uniclip.errors import UserError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with shards a/0.tar, a/1.tar, a/10.tar and b/0.tar; the working folder."""
    for name in ("a/0.tar", "a/1.tar", "a/10.tar", "b/0.tar", "a/readme.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(path: str) -> list[tuple[int, str]]:
    return [(shard.source, shard.name) for shard in list_shards(path)]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a", [(0, "0.tar"), (0, "1.tar"), (0, "10.tar")]),
        ("a/1.tar", [(0, "1.tar")]),
        ("a/*.tar", [(0, "0.tar"), (0, "1.tar"), (0, "10.tar")]),
        ("a/{0..1}.tar", [(0, "0.tar"), (0, "1.tar")]),
        ("{a,b}/0.tar", [(0, "a/0.tar"), (0, "b/0.tar")]),
        ("a/{10,1}.tar", [(0, "10.tar"), (0, "1.tar")]),
        ("a/{0,./0,../a/0}.tar", [(0, "0.tar")]),
        ("[ab]/0.tar", [(0, "a/0.tar"), (0, "b/0.tar")]),
        ("a::b/0.tar", [(0, "0.tar"), (0, "1.tar"), (0, "10.tar"), (1, "0.tar")]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_shards_of_a_path(path, expected):
    assert names(path) == expected


@pytest.mark.parametrize(
    "pattern",
    [
        "{000..012}.tar",
        "{8..11}",
        "{3..1}",
        "{01..10..3}",
        "x{a,b}{1..2}y",
        "no braces",
        "{a}",
        "a{}b",
        "y{,x}",
        "{1..x}",
        "{-1..1}",
        "{a,b}{c,d}/{0..1}",
        "{-01..1}",
    ],
)
def test_braces_are_expanded_as_by_bash_and_open_clip(pattern):
    expanded = list(expand_braces(pattern))
    bash = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {pattern.replace(' ', chr(92) + ' ')}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert expanded == bash
    if "01..1}" not in pattern:  # which braceexpand pads in another way
        assert expanded == list(braceexpand.braceexpand(pattern))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("c", "data.path names c, which cannot be read"),
        ("c/*.tar", r"data.path=c/\*.tar names no shard"),
        ("a/{0..2}.tar", r"names a/2.tar, which cannot be read \(No such file"),
        ("a/readme.txt::a", None),
        ("a::a/0.tar", "in two sources; name it once"),
        ("a/{0..99999999}.tar", "has 100,000,000 numbers"),
        ("", None),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_names_no_shard_is_said_in_one_line(path, message):
    if message is None:
        list_shards(path)
        return
    with pytest.raises(UserError, match=message):
        list_shards(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "nested",
            r"names no shard: its .* folders of it \(a/0.tar\), with the glob nested/\*/\*.tar;",
        ),
        ("packed", r"names no shard, but compressed files \(2, such as 0.tar.gz\), which must be"),
    ],
)
def test_a_folder_without_tar_files_is_said_with_what_it_has(folder, path, message):
    Path("nested").mkdir()
    Path("a").rename("nested/a")
    Path("packed").mkdir()
    for name in ("0.tar.gz", "1.tgz", "readme.gz"):
        Path("packed", name).touch()
    with pytest.raises(UserError, match=message):
        list_shards(path)
    assert [name for _, name in names("nested/*/*.tar")] == ["0.tar", "1.tar", "10.tar"]


def test_compressed_files_beside_shards_are_said(folder):
    Path("a", "2.tar.gz").touch()
    assert describe_compressed("a::b") == ["1 compressed tar file is not read: a/2.tar.gz"]
    assert describe_compressed("a/{0..1}.tar::b::missing") == []


def test_braces_in_the_name_of_a_folder_that_exists_are_characters(folder):
    Path("b").rename("x{a,b}[0]")
    expected = [(0, "0.tar")]
    assert names("x{a,b}[0]/{0..0}.tar") == names("x{a,b}[0]/*.tar") == expected
    assert list_shards("x{a,b}[0]/{0,0}.tar")[0].path == str(folder / "x{a,b}[0]" / "0.tar")


def test_an_empty_folder_names_no_shard(tmp_path):
    with pytest.raises(UserError, match="names no shard; write a folder of tar files"):
        list_shards(str(tmp_path))


def test_a_signature_changes_with_size_and_time_and_names_do_not_depend_on_the_place(folder):
    (before,) = list_shards("a/0.tar")
    os.utime("a/0.tar", ns=(1, 1))
    (touched,) = list_shards("a/0.tar")
    assert before.signature != touched.signature
    Path("a").rename("elsewhere")
    assert names("elsewhere") == [(0, "0.tar"), (0, "1.tar"), (0, "10.tar")]


@pytest.mark.usefixtures("folder")
def test_shards_are_listed_once_where_listings_are_remembered():
    with remember_listings():
        assert names("a/1.tar") == [(0, "1.tar")]
        Path("a/1.tar").unlink()
        assert names("a/1.tar") == [(0, "1.tar")]
    with pytest.raises(UserError, match="cannot be read"):
        list_shards("a/1.tar")


def test_a_staged_copy_is_read_under_the_name_of_the_original(folder, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "0.tar").write_bytes(b"staged")
    monkeypatch.setenv("UNICLIP_STAGED", f"{folder / 'a'}:{copy}")
    first, second = list_shards(f"{folder}/a/{{0,1}}.tar")
    assert (first.path, first.name, first.size) == (str(copy / "0.tar"), "0.tar", 6)
    assert second.path == str(folder / "a/1.tar")
