"""The archive: read by tar and sha256sum without us; each flipped byte is found and named."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from sweeps.bundles.archive import write_archive
from sweeps.bundles.manifest import Manifest, hash_stream
from sweeps.bundles.reader import check_bundle
from tests.sweeps.bundles.conftest import Lab
from uniclip.errors import UserError

LONG_NAME = "/".join(["a_folder_with_a_long_name"] * 6) + "/file.json"
FILES = {"a.txt": b"alpha\n", "b/empty.json": b"", LONG_NAME: b"{}\n" * 300}


def pack(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    manifest = Manifest({name: hash_stream(io.BytesIO(data)) for name, data in files.items()})
    write_archive(stream, manifest, lambda name: io.BytesIO(files[name]))
    return stream.getvalue()


def test_tar_and_sha256sum_read_it(lab: Lab, tmp_path: Path) -> None:
    subprocess.run(["tar", "-xf", lab.bundle, "-C", tmp_path], check=True)
    check = ["sha256sum", "--check", "--strict", "--quiet", "MANIFEST.sha256"]
    subprocess.run(check, cwd=tmp_path, check=True)


def test_equal_files_give_equal_bytes() -> None:
    assert pack(FILES) == pack(dict(reversed(FILES.items())))


@pytest.mark.parametrize("stride", [97, pytest.param(1, marks=pytest.mark.soak)])
def test_each_flipped_byte_is_found_and_named(tmp_path: Path, stride: int) -> None:
    """In content, headers, padding, manifest and the end of the archive."""
    data, path = pack(FILES), tmp_path / "b.tar"
    path.write_bytes(data)
    assert check_bundle(path).damage == ()
    names = ("MANIFEST.sha256", *FILES)
    for position in range(0, len(data), stride):
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        try:
            lines = check_bundle(path).damage
        except UserError as error:
            lines = (str(error),)
        assert lines, position
        assert any(name in lines[0] for name in names), lines


def test_a_shorter_or_longer_archive_is_damaged(tmp_path: Path) -> None:
    data, path = pack(FILES), tmp_path / "b.tar"
    for changed in (data[:-1], data + b"\0", data[:3000], data + data):
        path.write_bytes(changed)
        assert check_bundle(path).damage


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
def test_no_member_but_a_regular_file_is_read(tmp_path: Path, kind: bytes) -> None:
    """An archive by another program, with a link whose name is in the manifest."""
    manifest = Manifest({"a.txt": hash_stream(io.BytesIO(b""))})
    path = tmp_path / "b.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("MANIFEST.sha256")
        info.size = len(manifest.to_bytes())
        archive.addfile(info, io.BytesIO(manifest.to_bytes()))
        info = tarfile.TarInfo("a.txt")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    checked = check_bundle(path, unpack_to=tmp_path / "out")
    assert checked.damage[0].startswith("a.txt: its header")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_that_changes_meanwhile_is_an_error() -> None:
    manifest = Manifest({"a.txt": hash_stream(io.BytesIO(b"old"))})
    with pytest.raises(UserError, match="was changed while it was packed"):
        write_archive(io.BytesIO(), manifest, lambda name: io.BytesIO(b"new"))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04.", b"\0" * 2048, b"x" * 5000])
def test_other_files_are_no_bundle(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match="not a bundle"):
        check_bundle(tmp_path / "x")
