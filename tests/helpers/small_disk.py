"""A small file system that can be filled: a full disk, as the operating system reports it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """Mount a file system of 60 MB at `path`."""
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(path)])
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted as root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Keep the disk full within this context."""
    fill(disk)
    try:
        yield
    finally:
        make_room(disk)


def fill(disk: Path) -> None:
    """Fill all free space."""
    with open(disk / "filler", "ab", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(2**12))


def make_room(disk: Path) -> None:
    """Free the space again."""
    (disk / "filler").unlink()
