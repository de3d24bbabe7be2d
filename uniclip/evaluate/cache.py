"""Cache of arrays computed from a model or a data set, in files named by everything they depend on.

A stale or misaligned file cannot be read by mistake: its name is the hash of its inputs, and its
last bytes are a checksum of the others. Files are replaced atomically, so two processes that write
one at the same time do no harm: both write the same. The cache is disposable; what is missing or
damaged is computed again.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from uniclip.io import atomic, hashing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    EmbedFunction = Callable[[NDArray[np.int64]], NDArray[Any]]
    """Maps indices (m,) of samples to their rows (m, F)."""

Part = TypeVar("Part")

EMBED_BATCH_SIZE = 256
"""Samples embedded at once."""

CHECKSUM_BYTES = 16
"""Bytes of the checksum at a file's end."""

MIN_FREE_RATIO = 10
"""A file is not stored unless the disk has this many times its size free."""

READ_BYTES = 1 << 20

SEGMENT_ROWS = 1 << 14
"""Larger arrays are stored in segments of this many rows until they are complete."""


def _locate_note(folder: Path, name: str) -> Path:
    """Return the file of a note in the folder of a cache."""
    return folder / "notes" / f"{name}.json"


def select_share(parts: Sequence[Part], rank: int, world_size: int) -> Sequence[Part]:
    """Return the parts that process `rank` embeds: neighbors, which are decoded ahead."""
    return parts[len(parts) * rank // world_size : len(parts) * (rank + 1) // world_size]


@dataclass(frozen=True)
class Cache:
    """A folder of arrays. Without a folder, nothing is stored."""

    folder: Path | None = None
    weights_hash: str = ""
    """Hash of the weights of the model whose embeddings are stored."""
    max_bytes: float = math.inf
    """Size in bytes of the largest file of embeddings that stays."""

    def get_or_embed(
        self, key: Mapping[str, Any], n: int, embed: EmbedFunction
    ) -> NDArray[np.float32]:
        """Return rows (n, F) float32 that depend on `key` (plain JSON) alone; embed missing ones.

        Stored rows are read-only and memory-mapped; rows too large to be stored are in memory. A
        large array is stored segment by segment, so that an interrupted call resumes from the last
        one, until the whole is stored; if it is too large for that, until `remove_segments`.
        """
        import numpy as np

        path = self._path("embeddings", key)
        cached = None if path is None else _open_memmap(path, n)
        if cached is not None:
            return cached
        if path is not None and "rows" not in key and n <= SEGMENT_ROWS:
            embed = partial(self._read_or_embed_batch, key, embed)
        batches = _embed_batches(n, embed)
        first_batch = next(batches, None)
        if first_batch is None:
            return np.zeros((0, 0), np.float32)
        num_bytes = first_batch.nbytes * n // len(first_batch)
        is_large, is_segmented = num_bytes > self.max_bytes, n > SEGMENT_ROWS
        has_space = path is not None and self._has_free_space(num_bytes)
        if path is None or not has_space or (is_large and not is_segmented):
            return np.concatenate([first_batch, *batches])
        if is_segmented:
            batches = self._embed_segments(key, n, embed)
            first_batch = next(batches)
        if is_large:
            return np.concatenate([first_batch, *batches])
        with suppress(OSError):  # such as a full disk
            _write_with_checksum(path, _encode_npy(n, first_batch, batches))
        stored = _open_memmap(path, n)
        if stored is None:
            if is_segmented:
                return np.concatenate([*self._embed_segments(key, n, embed)])
            return np.concatenate([*_embed_batches(n, embed)])
        self.remove_segments(key, n)
        return stored

    def _embed_segments(
        self, key: Mapping[str, Any], n: int, embed: EmbedFunction
    ) -> Iterator[NDArray[np.float32]]:
        for start, segment_key in _iterate_parts(key, n):
            size = segment_key["rows"][1] - start
            yield self.get_or_embed(segment_key, size, partial(_embed_with_offset, embed, start))

    def _read_or_embed_batch(
        self, key: Mapping[str, Any], embed: EmbedFunction, index: NDArray[np.int64]
    ) -> NDArray[Any]:
        """Return the rows of a batch, which another process may have stored (`embed_share`)."""
        start, stop = int(index[0]), int(index[-1]) + 1
        stored = self.read_rows({**key, "rows": [start, stop]}, stop - start)
        return embed(index) if stored is None else stored

    def embed_share(
        self,
        key: Mapping[str, Any],
        n: int,
        embed: EmbedFunction,
        *,
        rank: int,
        world_size: int,
    ) -> None:
        """Store the share of process `rank` in the segments of what `get_or_embed` returns.

        Of rows that are not stored in segments, its share in the batches. What is stored whole
        already is left out.
        """
        path = self._path("embeddings", key)
        if path is None or _open_memmap(path, n) is not None:
            return
        parts = [*_iterate_parts(key, n)]
        if n > SEGMENT_ROWS:
            parts = parts[rank::world_size]
        else:
            parts = [*select_share(parts, rank, world_size)]
        for start, part_key in parts:
            size = part_key["rows"][1] - start
            rows = self.get_or_embed(part_key, size, partial(_embed_with_offset, embed, start))
            if rows.flags.writeable:
                return  # not stored: the disk is full, or the cache too small

    def read_rows(self, key: Mapping[str, Any], n: int) -> NDArray[np.float32] | None:
        """Return the stored rows (n, F) of `get_or_embed`; None if they are not stored."""
        path = self._path("embeddings", key)
        return None if path is None else _open_memmap(path, n)

    def remove_segments(self, key: Mapping[str, Any], n: int) -> None:
        """Remove the parts of rows (n, F) that are stored whole or no longer needed."""
        for _, part_key in _iterate_parts(key, n):
            self.remove("embeddings", part_key)

    def get_or_compute(
        self,
        key: Mapping[str, Any],
        compute: Callable[[], dict[str, NDArray[Any]]],
        min_seconds: float = 0.0,
    ) -> dict[str, NDArray[Any]]:
        """Return small arrays, without objects, that depend on `key` alone, computed if not stored.

        Results computed in fewer than `min_seconds` are not stored.
        """
        import numpy as np

        path = self._path("arrays", key)
        with suppress(OSError):
            if path is not None and _is_intact(path):
                with np.load(
                    BytesIO(path.read_bytes()[:-CHECKSUM_BYTES]), allow_pickle=False
                ) as stored:
                    return dict(stored)
        start_time = time.monotonic()
        result = compute()
        if path is not None and time.monotonic() - start_time >= min_seconds:
            stream = BytesIO()
            np.savez_compressed(stream, allow_pickle=False, **result)
            with suppress(OSError):
                _write_with_checksum(path, [stream.getvalue()])
        return result

    def remove(self, kind: Literal["embeddings", "arrays"], key: Mapping[str, Any]) -> None:
        """Remove an intermediate result."""
        path = self._path(kind, key)
        if path is not None:
            path.unlink(missing_ok=True)

    def write_note(self, name: str, value: Any) -> None:
        """Store plain JSON under a name, replacing the previous value."""
        if self.folder is not None:
            with suppress(OSError):
                atomic.atomic_write(_locate_note(self.folder, name), json.dumps(value).encode())

    def read_note(self, name: str) -> Any:
        """Return what was last stored under that name; None if nothing was."""
        if self.folder is None:
            return None
        try:
            return json.loads(_locate_note(self.folder, name).read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def _path(self, kind: Literal["embeddings", "arrays"], key: Mapping[str, Any]) -> Path | None:
        if self.folder is None:
            return None
        suffix = {"embeddings": "npy", "arrays": "npz"}[kind]
        return self.folder / kind / f"{hashing.digest(dict(key), 32)}.{suffix}"

    def _has_free_space(self, num_bytes: int) -> bool:
        assert self.folder is not None
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            return shutil.disk_usage(self.folder).free > MIN_FREE_RATIO * num_bytes
        return False


def _iterate_parts(key: Mapping[str, Any], n: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the first row and the key of each part that is stored for itself.

    Segments of many rows or, of fewer, batches, which processes share; none of a single batch.
    """
    num_rows = SEGMENT_ROWS if n > SEGMENT_ROWS else EMBED_BATCH_SIZE
    if n <= num_rows or (n <= SEGMENT_ROWS and "rows" in key):
        return
    for start in range(0, n, num_rows):
        yield start, {**key, "rows": [start, min(start + num_rows, n)]}


def _embed_with_offset(embed: EmbedFunction, start: int, index: NDArray[np.int64]) -> NDArray[Any]:
    return embed(index + start)


def _embed_batches(n: int, embed: EmbedFunction) -> Iterator[NDArray[np.float32]]:
    import numpy as np

    for start in range(0, n, EMBED_BATCH_SIZE):
        index = np.arange(start, min(start + EMBED_BATCH_SIZE, n))
        rows = np.ascontiguousarray(embed(index), dtype="<f4")
        assert rows.ndim == 2, rows.shape
        assert len(rows) == len(index), rows.shape
        yield rows


def _encode_npy(
    n: int, first_batch: NDArray[np.float32], remaining_batches: Iterator[NDArray[np.float32]]
) -> Iterator[bytes]:
    """Yield the bytes of an .npy file, a batch of rows at a time."""
    from numpy.lib.format import write_array_header_1_0

    header = BytesIO()
    shape = (n, first_batch.shape[1])
    write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    yield header.getvalue()
    yield first_batch.tobytes()
    for rows in remaining_batches:
        assert rows.shape[1] == first_batch.shape[1], rows.shape
        yield rows.tobytes()


def _write_with_checksum(path: Path, chunks: Iterable[bytes]) -> None:
    """Write the chunks and their checksum to `path` atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    digest = blake2b(digest_size=CHECKSUM_BYTES)
    try:
        with open(temporary, "xb") as stream:
            for chunk in chunks:
                digest.update(chunk)
                stream.write(chunk)
            stream.write(digest.digest())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_intact(path: Path) -> bool:
    """Return whether the file ends with its checksum; OSError if there is no file."""
    digest = blake2b(digest_size=CHECKSUM_BYTES)
    with open(path, "rb") as stream:
        remaining = os.fstat(stream.fileno()).st_size - CHECKSUM_BYTES
        while remaining > 0 and (chunk := stream.read(min(READ_BYTES, remaining))):
            digest.update(chunk)
            remaining -= len(chunk)
        return remaining == 0 and stream.read() == digest.digest()


def _open_memmap(path: Path, n: int) -> NDArray[np.float32] | None:
    import numpy as np

    try:
        if not _is_intact(path):
            return None
        rows: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        return None
    return rows if rows.ndim == 2 and len(rows) == n else None
