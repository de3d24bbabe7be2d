"""What was computed from a model or a data set, kept in files named by all that it depends on.

A stale or misaligned file cannot be read by mistake: what it depends on is its name, and its last
bytes are a sum of the others. Files are put in place whole, so two processes that make one at once
do no harm: both make the same, and whoever is last wins. All of it is disposable; what is missing
or damaged is made again.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from uniclip import identity
from uniclip.io import atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Embed = Callable[[NDArray[np.int64]], NDArray[Any]]
    """Indices (m,) of samples to their rows (m, F)."""

PIECE = 256
"""Samples embedded at once."""

SUM = 16
"""Bytes of the sum at a file's end."""

SHARE = 10
"""A file that would take one part in so many of the disk's free room is not kept."""

CHUNK = 1 << 20

CHAPTER = 1 << 14
"""A set of more rows is kept in chapters of so many on the way."""


@dataclass(frozen=True)
class Cache:
    """A folder of arrays. Without one, nothing is kept."""

    folder: Path | None = None
    weights: str = ""
    """Hash of the weights of the model whose embeddings are kept."""
    most: float = math.inf
    """Bytes of the largest file of embeddings that is kept for good."""

    def rows(self, what: Mapping[str, Any], n: int, embed: Embed) -> NDArray[np.float32]:
        """Rows (n, F) float32 that depend on `what` (plain JSON) alone, embedded if not kept.

        What is kept is read-only and memory-mapped; what is too large to be kept is in memory. Of a
        large set each chapter is kept as it is done, so that who was stopped goes on from the last,
        until the whole is kept; if that is too large, until `forget_chapters`.
        """
        import numpy as np

        path = self._path("embeddings", what)
        found = None if path is None else _mapped(path, n)
        if found is not None:
            return found
        pieces = _pieces(n, embed)
        first = next(pieces, None)
        if first is None:
            return np.zeros((0, 0), np.float32)
        size = first.nbytes * n // len(first)
        if path is None or not self._has_room(size) or (size > self.most and n <= CHAPTER):
            return np.concatenate([first, *pieces])
        if n > CHAPTER:
            pieces = self._chapters(what, n, embed)
            first = next(pieces)
        if size > self.most:
            return np.concatenate([first, *pieces])
        with suppress(OSError):  # the disk is full, say
            _write(path, _npy(n, first, pieces))
        made = _mapped(path, n)
        if made is None:
            again = self._chapters(what, n, embed) if n > CHAPTER else _pieces(n, embed)
            return np.concatenate([*again])
        self.forget_chapters(what, n)
        return made

    def _chapters(
        self, what: Mapping[str, Any], n: int, embed: Embed
    ) -> Iterator[NDArray[np.float32]]:
        for start, own in _contents(what, n):
            size = min(CHAPTER, n - start)
            yield self.rows(own, size, partial(_embed_from, embed, start))

    def forget_chapters(self, what: Mapping[str, Any], n: int) -> None:
        """Remove the parts of rows (n, F) that are kept whole, or are needed no more."""
        for _, own in _contents(what, n) if n > CHAPTER else ():
            self.forget("embeddings", own)

    def arrays(
        self,
        what: Mapping[str, Any],
        make: Callable[[], dict[str, NDArray[Any]]],
        least: float = 0.0,
    ) -> dict[str, NDArray[Any]]:
        """A few small arrays that depend on `what` alone, made if not kept. None holds objects.

        least: what is made in fewer seconds is not kept.
        """
        import numpy as np

        path = self._path("arrays", what)
        with suppress(OSError):
            if path is not None and _is_whole(path):
                with np.load(BytesIO(path.read_bytes()[:-SUM]), allow_pickle=False) as kept:
                    return dict(kept)
        begun = time.monotonic()
        made = make()
        if path is not None and time.monotonic() - begun >= least:
            stream = BytesIO()
            np.savez_compressed(stream, allow_pickle=False, **made)
            with suppress(OSError):
                _write(path, [stream.getvalue()])
        return made

    def forget(self, kind: Literal["embeddings", "arrays"], what: Mapping[str, Any]) -> None:
        """Remove what was kept on the way to something that is kept by now."""
        path = self._path(kind, what)
        if path is not None:
            path.unlink(missing_ok=True)

    def note(self, name: str, value: Any) -> None:
        """Keep plain JSON under a name, over what was there."""
        if self.folder is not None:
            with suppress(OSError):
                atomic.replace(self.folder / "notes" / f"{name}.json", json.dumps(value).encode())

    def noted(self, name: str) -> Any:
        """What was last kept under that name; None if nothing was."""
        if self.folder is None:
            return None
        try:
            return json.loads((self.folder / "notes" / f"{name}.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None

    def _path(self, kind: Literal["embeddings", "arrays"], what: Mapping[str, Any]) -> Path | None:
        if self.folder is None:
            return None
        suffix = {"embeddings": "npy", "arrays": "npz"}[kind]
        return self.folder / kind / f"{identity.digest(dict(what), 32)}.{suffix}"

    def _has_room(self, size: int) -> bool:
        assert self.folder is not None
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            return shutil.disk_usage(self.folder).free > SHARE * size
        return False


def _contents(what: Mapping[str, Any], n: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The first row of each chapter, and what it depends on."""
    for start in range(0, n, CHAPTER):
        yield start, {**what, "rows": [start, min(start + CHAPTER, n)]}


def _embed_from(embed: Embed, start: int, index: NDArray[np.int64]) -> NDArray[Any]:
    return embed(index + start)


def _pieces(n: int, embed: Embed) -> Iterator[NDArray[np.float32]]:
    import numpy as np

    for start in range(0, n, PIECE):
        index = np.arange(start, min(start + PIECE, n))
        rows = np.ascontiguousarray(embed(index), dtype="<f4")
        assert rows.ndim == 2, rows.shape
        assert len(rows) == len(index), rows.shape
        yield rows


def _npy(
    n: int, first: NDArray[np.float32], others: Iterator[NDArray[np.float32]]
) -> Iterator[bytes]:
    """An .npy file, a piece of rows at a time."""
    from numpy.lib.format import write_array_header_1_0

    head = BytesIO()
    shape = (n, first.shape[1])
    write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": shape})
    yield head.getvalue()
    yield first.tobytes()
    for rows in others:
        assert rows.shape[1] == first.shape[1], rows.shape
        yield rows.tobytes()


def _write(path: Path, parts: Iterable[bytes]) -> None:
    """`parts` and their sum at `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    digest = blake2b(digest_size=SUM)
    try:
        with open(temporary, "xb") as stream:
            for part in parts:
                digest.update(part)
                stream.write(part)
            stream.write(digest.digest())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_whole(path: Path) -> bool:
    """Whether the file ends with the sum of what stands before; OSError if there is none."""
    digest = blake2b(digest_size=SUM)
    with open(path, "rb") as stream:
        left = os.fstat(stream.fileno()).st_size - SUM
        while left > 0 and (part := stream.read(min(CHUNK, left))):
            digest.update(part)
            left -= len(part)
        return left == 0 and stream.read() == digest.digest()


def _mapped(path: Path, n: int) -> NDArray[np.float32] | None:
    import numpy as np

    try:
        if not _is_whole(path):
            return None
        rows: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        return None
    return rows if rows.ndim == 2 and len(rows) == n else None
