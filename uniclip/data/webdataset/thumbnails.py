"""Small grey images of all samples of shards or class folders, stored by an optional pass.

They are what copies of test images are searched in (`uniclip.evaluate.checks.near_duplicates`).
There is a file for each `CHUNK_SIZE` samples: a pass that was interrupted continues.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from uniclip.io.array_file import has_shape
from uniclip.io.atomic import atomic_write

VERSION = 1
"""Raised when the same images get other thumbnails."""
CHUNK_SIZE = 16_384
"""Samples whose thumbnails are in one file."""
SHAPE = (8, 9)
"""Rows and columns of a thumbnail."""


class StoredImages(Protocol):
    """Images whose thumbnails are stored beside a folder, such as those of an index of shards."""

    @property
    def folder(self) -> Path:
        """The folder."""

    def __len__(self) -> int: ...


def list_missing_chunks(images: StoredImages) -> list[int]:
    """Return the chunks of samples whose thumbnails have not been made."""
    return [
        chunk
        for chunk in range(count_chunks(images))
        if not has_shape(
            _name_chunk(images, chunk), np.uint8, (len(get_chunk_rows(images, chunk)), *SHAPE)
        )
    ]


def count_chunks(images: StoredImages) -> int:
    """Return the number of chunks of all samples."""
    return -(-len(images) // CHUNK_SIZE)


def get_chunk_rows(images: StoredImages, chunk: int) -> range:
    """Return the samples of a chunk."""
    return range(len(images))[chunk * CHUNK_SIZE : (chunk + 1) * CHUNK_SIZE]


def write_chunk(images: StoredImages, chunk: int, thumbnails: NDArray[np.uint8]) -> None:
    """Write the thumbnails of a chunk, (n, 8, 9); 0 for an image that cannot be read.

    Raises:
        OSError: The file cannot be written.
    """
    path, stream = _name_chunk(images, chunk), io.BytesIO()
    np.save(stream, thumbnails, allow_pickle=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, stream.getvalue())


def read_thumbnails(images: StoredImages, rows: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Return the thumbnails (n, 8, 9) of some of the images; those of all have been made."""
    chunks = [
        np.load(_name_chunk(images, chunk), allow_pickle=False)
        for chunk in range(count_chunks(images))
    ]
    thumbnails: NDArray[np.uint8] = np.concatenate(chunks)[rows]
    return thumbnails


def _name_chunk(images: StoredImages, chunk: int) -> Path:
    folder = images.folder.with_name(f"{images.folder.name}-thumbnails-{VERSION}-{CHUNK_SIZE}")
    return folder / f"{chunk:06d}.npy"
