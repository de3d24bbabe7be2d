"""The manifest of a bundle: the SHA-256 hash of every file, as `sha256sum --check` reads it.

    <64 hex digits>  <path>
    ...
    # sha256 of the lines above: <64 hex digits>

Lines are sorted by path. `sha256sum` skips the last line, which proves that no other was changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from uniclip.errors import UserError

MANIFEST_NAME = "MANIFEST.sha256"
_LINE = re.compile(r"(?P<hash>[0-9a-f]{64})  (?P<name>[^\n]+)")
_LAST_LINE = "# sha256 of the lines above: "
_NAME_PART = re.compile(r"[A-Za-z0-9_@+=,-][A-Za-z0-9_.@+=, -]*")
CHUNK_BYTES = 1 << 20
MAX_NAME_LENGTH = 1000
MAX_MANIFEST_BYTES = 500_000_000


@dataclass(frozen=True)
class Manifest:
    """The files of a bundle."""

    hashes: Mapping[str, str]
    """Path in the bundle -> SHA-256 hash of the file, 64 hex digits; sorted."""

    @property
    def digest(self) -> str:
        """SHA-256 hash of the lines: it stands for everything in the bundle."""
        return hashlib.sha256(self._format_lines()).hexdigest()

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        return self._format_lines() + f"{_LAST_LINE}{self.digest}\n".encode()

    def _format_lines(self) -> bytes:
        return "".join(f"{h}  {name}\n" for name, h in sorted(self.hashes.items())).encode()


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest in the content of a file.

    Raises:
        UserError: the content is not one that `Manifest.to_bytes` returns, or a path in it is not
            allowed.
    """
    hashes: dict[str, str] = {}
    lines = data.decode("ascii", errors="replace").splitlines()
    for line in lines[:-1]:
        match = _LINE.fullmatch(line)
        if match is None or not is_safe_name(match["name"]):
            raise UserError(f"{MANIFEST_NAME} is damaged: {line[:100]!r} is not a line of it")
        hashes[match["name"]] = match["hash"]
    if any(parent in hashes for name in hashes for parent in _list_parents(name)):
        raise UserError(f"{MANIFEST_NAME} is damaged: a path in it is a file and a folder")
    manifest = Manifest(hashes)
    if manifest.to_bytes() != data:
        raise UserError(f"{MANIFEST_NAME} is damaged: its lines do not have the hash at its end")
    return manifest


def is_safe_name(name: str) -> bool:
    """Return whether a path in a bundle is allowed.

    It is relative and has no part that starts with a dot, no backslash and no control character:
    it names a file below the folder into which the bundle is unpacked, in any file system.
    """
    parts = name.split("/")
    return len(name) <= MAX_NAME_LENGTH and all(_NAME_PART.fullmatch(part) for part in parts)


def _list_parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def hash_stream(stream: BinaryIO) -> str:
    """Return the SHA-256 hash of what is left in a stream, as 64 hex digits."""
    hasher = hashlib.sha256()
    while chunk := stream.read(CHUNK_BYTES):
        hasher.update(chunk)
    return hasher.hexdigest()
