"""The manifest: one spelling, read by sha256sum, and no path outside."""

from __future__ import annotations

import hashlib

import pytest

from sweeps.bundles.manifest import Manifest, is_safe_name, parse_manifest
from uniclip.errors import UserError

HASH = hashlib.sha256(b"").hexdigest()


def test_what_is_written_is_read() -> None:
    manifest = Manifest({"b/c.json": HASH, "a.txt": HASH})
    assert parse_manifest(manifest.to_bytes()).hashes == manifest.hashes
    assert manifest.to_bytes().splitlines()[0] == f"{HASH}  a.txt".encode()


def test_every_changed_byte_is_noticed() -> None:
    data = Manifest({"a.txt": HASH, "b/c.json": HASH}).to_bytes()
    for position in range(len(data)):
        for bit in (1, 32, 128):
            changed = data[:position] + bytes([data[position] ^ bit]) + data[position + 1 :]
            with pytest.raises(UserError, match=r"MANIFEST\.sha256 is damaged"):
                parse_manifest(changed)
    for shorter in (b"", data[:-1], data + b"\n"):
        with pytest.raises(UserError):
            parse_manifest(shorter)


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/passwd", "../x", "a/../../x", "a//b", "a/", "", ".", "..", ".ssh/keys", "a/.git/x"),
        *("C:\\x", "a\\b", "a\0b", "a\rb", "\x1b[2J", "a\u202eb", "~/x/\t", "-" * 1001),
    ],
)
def test_paths_outside_and_odd_names_are_refused(name: str) -> None:
    assert not is_safe_name(name)
    with pytest.raises(UserError, match="damaged"):
        parse_manifest(Manifest({name: HASH}).to_bytes())


def test_a_path_is_not_a_file_and_a_folder() -> None:
    with pytest.raises(UserError, match="a file and a folder"):
        parse_manifest(Manifest({"a": HASH, "a/b": HASH}).to_bytes())
