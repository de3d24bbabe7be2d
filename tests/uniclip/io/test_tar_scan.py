"""Tar headers: the members that `tarfile` sees, in every format, and files that are damaged."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from uniclip.io import tar_scan
from uniclip.io.tar_scan import (
    DamagedTarError,
    NotATarError,
    TarScanner,
    iterate_samples,
    read_member_name,
)

NAMES = ["a.jpg", "b/c.d.txt", "x" * 150 + ".png", "é/ü.txt", "deep/" * 30 + "e.json"]


def write(path: Path, tar_format: int) -> list[tuple[str, bytes]]:
    """Write a tar with a folder, a link and files of many sizes; return the files."""
    contents = [(name, os.urandom(size)) for name, size in zip(NAMES, (0, 1, 512, 20_000, 513))]
    if tar_format == tarfile.USTAR_FORMAT:
        contents = [(name, content) for name, content in contents if len(name) < 100]
    with tarfile.open(path, "w", format=tar_format) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in contents:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mtime = 0.5 if tar_format == tarfile.PAX_FORMAT else 0  # in a pax record
            archive.addfile(member, io.BytesIO(content))
            link = tarfile.TarInfo(f"{name[:20]}.link")
            link.type, link.linkname = tarfile.SYMTYPE, "a.jpg"
            archive.addfile(link)
    return contents


def scan(path: Path) -> list[tuple[str, bytes]]:
    with open(path, "rb") as stream:
        scanner = TarScanner(stream.fileno())
        return [
            (name, os.pread(stream.fileno(), size, start))
            for name, start, size in scanner.iterate_members()
        ]


@pytest.mark.parametrize(
    "tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
@pytest.mark.parametrize("window", [512, 8192])
def test_members_are_those_of_tarfile(tmp_path, tar_format, window, monkeypatch):
    monkeypatch.setattr(tar_scan, "WINDOW", window)
    contents = write(tmp_path / "a.tar", tar_format)
    assert scan(tmp_path / "a.tar") == contents
    with open(tmp_path / "a.tar", "rb") as stream:
        members = list(TarScanner(stream.fileno()).iterate_members())
        names = [read_member_name(stream.fileno(), start) for _, start, _ in members]
    assert names == [name for name, _ in contents]


def test_a_tar_cut_between_members_is_damaged_and_bytes_after_the_end_are_not_read(tmp_path):
    contents = write(tmp_path / "a.tar", tarfile.GNU_FORMAT)
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole.rstrip(b"\0") + bytes(-len(whole.rstrip(b"\0")) % 512))
    with pytest.raises(DamagedTarError, match="without the closing block of zeros"):
        scan(tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(whole + b"rest" * 1000)
    assert scan(tmp_path / "a.tar") == contents


def test_a_tar_of_the_oldest_format_is_known_by_its_checksum(tmp_path):
    member = tarfile.TarInfo("old.txt")
    member.size = 3
    header = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
    header[257:265] = bytes(8)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(bytes(header) + b"abc".ljust(1536, b"\0"))
    assert scan(tmp_path / "a.tar") == [("old.txt", b"abc")]
    header[0:1] = b"O"
    (tmp_path / "a.tar").write_bytes(bytes(header) + b"abc".ljust(512, b"\0"))
    with pytest.raises(DamagedTarError, match="it is not a tar file"):
        scan(tmp_path / "a.tar")


def test_sizes_in_base_256_are_read(tmp_path):
    member = tarfile.TarInfo("large.jpg")
    member.size = 9 * 2**30
    header = member.tobuf(tarfile.GNU_FORMAT)
    with open(tmp_path / "a.tar", "wb") as stream:  # a sparse file
        stream.write(header)
        stream.truncate(512 + member.size + 1024)
    with open(tmp_path / "a.tar", "rb") as stream:
        assert list(TarScanner(stream.fileno()).iterate_members()) == [
            ("large.jpg", 512, member.size)
        ]


def test_a_torn_tar_gives_its_whole_members_then_an_error(tmp_path):
    contents = write(tmp_path / "a.tar", tarfile.GNU_FORMAT)
    whole = (tmp_path / "a.tar").read_bytes()
    with open(tmp_path / "a.tar", "rb") as stream:
        members = list(TarScanner(stream.fileno()).iterate_members())
    name, start, size = members[3]
    (tmp_path / "a.tar").write_bytes(whole[: start + size - 1])
    found = []
    with open(tmp_path / "a.tar", "rb") as stream:
        with pytest.raises(DamagedTarError, match=f"within {name}"):
            found += TarScanner(stream.fileno()).iterate_members()
    assert [name for name, _, _ in found] == [name for name, _ in contents[:3]]
    (tmp_path / "a.tar").write_bytes(whole[: start - 100])
    with pytest.raises(DamagedTarError, match="no header at byte"):
        scan(tmp_path / "a.tar")
    damaged = bytearray(whole)
    damaged[start - 512 : start] = os.urandom(512)
    (tmp_path / "a.tar").write_bytes(damaged)
    with pytest.raises(DamagedTarError, match="no header at byte"):
        scan(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no tar file, this", "it is not a tar file"),
        (b"x" * 2000, "it is not a tar file"),
        (b"", "it is empty"),
        (gzip.compress(os.urandom(2000)), "it is compressed with gzip"),
    ],
)
def test_other_files_are_no_tar(tmp_path, content, reason):
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(NotATarError, match=reason):
        scan(tmp_path / "a.tar")


def test_neighbours_with_one_key_are_a_sample(tmp_path):
    names = ["a/1.jpg", "a/1.txt", "b/1.JPG", "README", ".hidden", "b/1.seg.png", "b/1.jpg", "2.x"]
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    with open(tmp_path / "a.tar", "rb") as stream:
        samples = list(iterate_samples(TarScanner(stream.fileno())))
    assert [(s.key, list(s.members), s.num_repeated) for s in samples] == [
        ("a/1", ["jpg", "txt"], 0),
        ("b/1", ["jpg", "seg.png"], 1),
        ("2", ["x"], 0),
    ]
    assert samples[1].members["jpg"][0] == "b/1.JPG"
