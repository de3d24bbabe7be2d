"""A small file system that can be filled: no room, as the operating system reports it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A file system of 60 MB at `place`."""
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(place)])
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted as root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """No room is left on it meanwhile."""
    fill(disk)
    try:
        yield
    finally:
        make_room(disk)


def fill(disk: Path) -> None:
    """Take all room that is left."""
    with open(disk / "filler", "ab", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(2**12))


def make_room(disk: Path) -> None:
    """Give it back."""
    (disk / "filler").unlink()
