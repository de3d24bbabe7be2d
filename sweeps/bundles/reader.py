"""Reading a bundle: an archive, or a folder into which one was unpacked.

Everything is checked against the manifest before anything is used. Unpacking creates regular files
below one new folder and nothing else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sweeps.bundles.archive import Member, copy_member, iterate_members, read_manifest
from sweeps.bundles.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    Manifest,
    hash_stream,
    parse_manifest,
)
from uniclip.errors import UserError


@dataclass(frozen=True)
class CheckedBundle:
    """The result of comparing every byte of a bundle with its manifest."""

    manifest: Manifest
    damage: tuple[str, ...]
    """A line for each file that is damaged, missing or not in the manifest; it starts with the
    name."""

    def require_intact(self, path: Path) -> None:
        """Raise `UserError` if anything is damaged."""
        if self.damage:
            more = f" (and {len(self.damage) - 1} more)" * (len(self.damage) > 1)
            raise UserError(f"{path} is damaged: {self.damage[0]}{more}; see verify")


def check_bundle(path: Path, *, unpack_to: Path | None = None) -> CheckedBundle:
    """Compare every byte of a bundle with its manifest.

    Args:
        path: the archive, or the folder into which it was unpacked.
        unpack_to: new folder into which the files are written as they are checked; nothing in it
            may be used unless the result is intact.

    Raises:
        UserError: `path` is no bundle.
    """
    if unpack_to is not None:
        unpack_to.mkdir(parents=True)
    try:
        if path.is_dir():
            return _check_folder(path, unpack_to)
        with open(path, "rb") as stream:
            return _check_archive(stream, path, unpack_to)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such bundle") from None
    except (FileExistsError, NotADirectoryError):  # names that this file system takes for equal
        raise UserError(f"{path} cannot be unpacked here: two of its files are one") from None


def _check_archive(stream: BinaryIO, path: Path, unpack_to: Path | None) -> CheckedBundle:
    try:
        manifest, first = read_manifest(stream)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    damage = []
    for entry in iterate_members(stream, manifest, first):
        if isinstance(entry, Member):
            file_hash = copy_member(stream, entry, _make_target(unpack_to, entry.name))
            if file_hash != manifest.hashes[entry.name]:
                damage.append(_describe_mismatch(entry.name))
        else:
            damage.append(entry)
    return CheckedBundle(manifest, tuple(damage))


def _check_folder(folder: Path, unpack_to: Path | None) -> CheckedBundle:
    manifest_path = folder / MANIFEST_NAME
    if not _is_regular(manifest_path) or manifest_path.stat().st_size > MAX_MANIFEST_BYTES:
        raise UserError(f"{folder} is no bundle: it has no {MANIFEST_NAME}")
    try:
        manifest = parse_manifest(manifest_path.read_bytes())
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None
    damage, names = [], set()
    for name in _list_entries(folder):
        names.add(name)
        if name == MANIFEST_NAME:
            continue
        if name not in manifest.hashes:
            damage.append(f"{name}: it is not in the manifest")
        elif not _is_regular(folder / name):
            damage.append(f"{name}: it is no regular file")
        else:
            member = Member(name, 0, os.stat(folder / name).st_size)
            with open(folder / name, "rb") as stream:
                target = _make_target(unpack_to, name)
                file_hash = copy_member(stream, member, target) if target else hash_stream(stream)
            if file_hash != manifest.hashes[name]:
                damage.append(_describe_mismatch(name))
    damage += [f"{name}: it is missing" for name in manifest.hashes if name not in names]
    return CheckedBundle(manifest, tuple(damage))


def _list_entries(folder: Path) -> Iterator[str]:
    """Yield every file and link below a folder; links are not followed."""
    for parent, subfolders, names in os.walk(folder):
        links = [name for name in subfolders if os.path.islink(os.path.join(parent, name))]
        subfolders[:] = sorted(set(subfolders) - set(links))
        for name in sorted([*names, *links]):
            yield Path(parent, name).relative_to(folder).as_posix()


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _make_target(folder: Path | None, name: str) -> Path | None:
    """Return the path to which a file is unpacked, whose folder exists then."""
    if folder is None:
        return None
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _describe_mismatch(name: str) -> str:
    return f"{name}: its content does not have the hash of the manifest"
