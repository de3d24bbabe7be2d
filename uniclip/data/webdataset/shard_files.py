"""Reading images from shards by their position; shards stay open, a few at a time."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from uniclip.data.webdataset.paths import Shard
from uniclip.errors import CHANGED_DATA_ADVICE, DataChangedError, UserError
from uniclip.io.tar_scan import read_member_name

MAX_OPEN = 64
"""Shards that a process has open."""


class ShardFiles:
    """Shards as they were when they were indexed.

    Args:
        shards: All of them; they are opened when they are read.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards
        self._descriptors: OrderedDict[int, int] = OrderedDict()
        """Number of a shard -> its open file, in the order of use."""

    def read(self, shard: int, start: int, size: int) -> bytes:
        """Return bytes of a shard.

        Raises:
            DataChangedError: It is not as it was when it was indexed.
            UserError: It cannot be read.
        """
        path = self._shards[shard].path
        try:
            descriptor = self._open(shard)
            content = os.pread(descriptor, size, start)
            if len(content) < size:
                raise DataChangedError(f"{path} has been cut off; {CHANGED_DATA_ADVICE}")
            self._require_unchanged(shard, descriptor)
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror or error})") from None
        return content

    def read_name(self, shard: int, start: int) -> str:
        """Return the name of the member whose content begins at `start`; raises as `read`."""
        try:
            descriptor = self._open(shard)
            name = read_member_name(descriptor, start)
            self._require_unchanged(shard, descriptor)
        except OSError as error:
            path = self._shards[shard].path
            raise UserError(f"{path} cannot be read ({error.strerror or error})") from None
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")

    def _open(self, shard: int) -> int:
        """Return the open file of a shard; `DataChangedError` if it is gone."""
        if shard in self._descriptors:
            self._descriptors.move_to_end(shard)
            return self._descriptors[shard]
        expected = self._shards[shard]
        try:
            descriptor = os.open(expected.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise DataChangedError(f"{expected.path} is gone; {CHANGED_DATA_ADVICE}") from None
        self._descriptors[shard] = descriptor
        if len(self._descriptors) > MAX_OPEN:
            os.close(self._descriptors.popitem(last=False)[1])
        return descriptor

    def _require_unchanged(self, shard: int, descriptor: int) -> None:
        """Raise `DataChangedError` unless an open shard is, after a read, as it was indexed."""
        expected, status = self._shards[shard], os.fstat(descriptor)
        if (status.st_size, status.st_mtime_ns) != (expected.size, expected.mtime_ns):
            raise DataChangedError(
                f"{expected.path} has changed since it was indexed; {CHANGED_DATA_ADVICE}"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without open files: another process opens its own."""
        return {"_shards": self._shards, "_descriptors": OrderedDict()}

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """Close the files; bound here since `os` may be gone when the interpreter ends."""
        for descriptor in self._descriptors.values():
            close(descriptor)
