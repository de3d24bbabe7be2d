"""The tar archive of a bundle: one spelling for each content, so that every byte is checked.

Members are regular files without owner, time or mode of their own, the manifest first and then the
files in its order. What is read must be byte for byte what would be written: links, devices, paths
outside and trailing data are refused without being interpreted, and nothing is unpacked by another
library.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sweeps.bundles.manifest import (
    CHUNK_BYTES,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    Manifest,
    parse_manifest,
)
from uniclip.errors import UserError

MAX_FILE_BYTES = 8**11 - 1
"""Largest size that the header of a member states by itself."""
_SIZE_FIELD = slice(124, 136)
"""Size of a member in the last block of its header, in octal digits."""


def write_archive(
    stream: BinaryIO, manifest: Manifest, open_file: Callable[[str], BinaryIO]
) -> None:
    """Write a bundle.

    Args:
        stream: where to.
        manifest: the files.
        open_file: opens a file of the manifest for reading.

    Raises:
        UserError: a file does not have the hash of the manifest: it changed meanwhile.
    """
    data = manifest.to_bytes()
    stream.write(_build_header(MANIFEST_NAME, len(data)) + data + _build_padding(len(data)))
    for name, file_hash in sorted(manifest.hashes.items()):
        with open_file(name) as source:
            size = source.seek(0, 2)
            source.seek(0)
            if size > MAX_FILE_BYTES:
                raise UserError(f"{name} has {size} bytes; a bundle takes {MAX_FILE_BYTES} a file")
            stream.write(_build_header(name, size))
            hasher = hashlib.sha256()
            while chunk := source.read(CHUNK_BYTES):
                hasher.update(chunk)
                stream.write(chunk)
            if hasher.hexdigest() != file_hash:
                raise UserError(f"{name} was changed while it was packed: run the command again")
            stream.write(_build_padding(size))
    stream.write(_build_end(stream.tell()))


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    name: str
    offset: int
    """Position of its first byte."""
    size: int


def read_manifest(stream: BinaryIO) -> tuple[Manifest, Member]:
    """Return the manifest at the start of an archive, and where it lies.

    Raises:
        UserError: the archive does not start with a manifest, or that is damaged.
    """
    member = _read_member(stream, MANIFEST_NAME)
    if member is None or member.size > MAX_MANIFEST_BYTES:
        raise UserError(f"not a bundle: it does not start with {MANIFEST_NAME}")
    return parse_manifest(stream.read(member.size)), member


def iterate_members(stream: BinaryIO, manifest: Manifest, first: Member) -> Iterator[Member | str]:
    """Yield the files of an archive in the order of the manifest, and what is damaged as a line.

    A line names the file; after a damaged header nothing more can be read, and iteration ends. The
    position of the stream may be changed between two files.
    """
    previous = first
    for name in sorted(manifest.hashes):
        if (line := _check_padding(stream, previous)) is not None:
            yield line
        member = _read_member(stream, name)
        if member is None:
            yield f"{name}: its header in the archive is damaged, and what follows is not checked"
            return
        yield member
        previous = member
    if (line := _check_padding(stream, previous)) is not None:
        yield line
    end = _build_end(stream.tell())
    if stream.read(len(end) + 1) != end:
        yield f"{previous.name}: the end of the archive after it is damaged"


def copy_member(stream: BinaryIO, member: Member, target: Path | None) -> str:
    """Return the SHA-256 hash of a file in an archive; write it to `target` unless that is None."""
    hasher, remaining = hashlib.sha256(), member.size
    stream.seek(member.offset)
    output = open(target, "xb") if target is not None else None
    try:
        while remaining and (chunk := stream.read(min(CHUNK_BYTES, remaining))):
            hasher.update(chunk)
            remaining -= len(chunk)
            if output is not None:
                output.write(chunk)
    finally:
        if output is not None:
            output.close()
    return hasher.hexdigest()


def _read_member(stream: BinaryIO, name: str) -> Member | None:
    """Return the member of that name at the position of the stream; None if it is another."""
    length = len(_build_header(name, 0))
    header = stream.read(length)
    digits = header[-tarfile.BLOCKSIZE :][_SIZE_FIELD].rstrip(b"\0 ")
    if not digits or digits.strip(b"01234567"):
        return None
    size = int(digits, 8)
    if header != _build_header(name, size):
        return None
    return Member(name=name, offset=stream.tell(), size=size)


def _check_padding(stream: BinaryIO, member: Member) -> str | None:
    """Go to the end of a member; return a line if the bytes after it are not zero."""
    padding = _build_padding(member.size)
    stream.seek(member.offset + member.size)
    if stream.read(len(padding)) == padding:
        return None
    return f"{member.name}: the padding after it in the archive is damaged"


def _build_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _build_padding(size: int) -> bytes:
    return b"\0" * (-size % tarfile.BLOCKSIZE)


def _build_end(position: int) -> bytes:
    end = b"\0" * (2 * tarfile.BLOCKSIZE)
    return end + b"\0" * (-(position + len(end)) % tarfile.RECORDSIZE)
