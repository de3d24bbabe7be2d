"""Digests of the images of large tables, a chunk of images at a time, in files.

They are kept beside the index of the tables with what tells a changed file: an image is read again
only if its file has changed.
"""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, overload

import numpy as np
from numpy.typing import NDArray

from uniclip.data.csv.faults import RowFault, check_faults
from uniclip.data.csv.packed_index import PackedIndex
from uniclip.data.split import SPLIT_NAMES, SplitName
from uniclip.errors import UserError
from uniclip.io import file_digests
from uniclip.io.array_file import ArrayWriter, has_array, map_array
from uniclip.io.hashing import digest_file
from uniclip.io.memo import disk_memoize

VERSION = 1
"""Raised when the same images get another record."""
CHUNK_SIZE = 65_536
"""Images that are in memory at once."""
MISSING = "missing"
"""Stands for the digest of an image that cannot be opened."""
DIGEST_BYTES = 16
RECORD_WORDS = 3
"""64-bit words of an image: a hash of what tells a changed file, 0 if it may change unseen, and the
digest, 0 if the image cannot be opened."""

Records = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class StoredDigests(Sequence[str]):
    """The digest of each image of a split, `MISSING` for one that cannot be opened."""

    records: Records
    """(n, 3): see `RECORD_WORDS`."""

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, i: int) -> str: ...

    @overload
    def __getitem__(self, i: slice) -> Sequence[str]: ...

    def __getitem__(self, i: int | slice) -> str | Sequence[str]:
        if isinstance(i, slice):
            return StoredDigests(self.records[i])
        content = self.records[i, 1:].tobytes()
        return content.hex() if any(content) else MISSING


def read_digests(index: PackedIndex, split_name: SplitName) -> StoredDigests:
    """Return the digests of the images of a split as they are now; changed images are read.

    Raises:
        UserError: The records cannot be written.
    """
    paths = index.locate_images(split_name)
    folder = index.folder.with_name(f"{index.folder.name}-images-{VERSION}")
    path = folder / f"{split_name}.npy"
    known = _map_records(path, len(paths))
    temporary = folder / f".{split_name}.{os.getpid()}.npy"
    is_changed = known is None
    try:
        folder.mkdir(exist_ok=True)
        temporary.unlink(missing_ok=True)
        with ArrayWriter(temporary, np.uint64) as writer:
            for start in range(0, len(paths), CHUNK_SIZE):
                chunk = slice(start, min(start + CHUNK_SIZE, len(paths)))
                old = None if known is None else known[chunk]
                records = _make_records([paths[i] for i in range(chunk.start, chunk.stop)], old)
                is_changed |= old is None or not np.array_equal(records, old)
                writer.append(records.reshape(-1))
        if is_changed:
            os.replace(temporary, path)
        temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({error.strerror or error}); make room, or set "
            "UNICLIP_CACHE to another folder"
        ) from None
    return StoredDigests(map_array(path).reshape(-1, RECORD_WORDS))


def digest_image_contents(index: PackedIndex) -> str:
    """Return 32 hex digits over names and content of all images, those of `content` in memory.

    Raises:
        UserError: More training images than allowed are missing, or a validation or test image.
    """
    digests = {name: read_digests(index, name) for name in SPLIT_NAMES}
    _check_missing(index, digests)
    key = blake2b(index.folder.name.encode(), digest_size=16)
    for stored in digests.values():
        for start in range(0, len(stored), CHUNK_SIZE):
            key.update(stored.records[start : start + CHUNK_SIZE, 1:].tobytes())
    return str(
        disk_memoize("image-contents", key.hexdigest(), lambda: _digest_sorted(index, digests))
    )


def _check_missing(index: PackedIndex, digests: dict[SplitName, StoredDigests]) -> None:
    """Raise `UserError` if more images cannot be opened than a configuration allows."""
    faults = []
    for name, stored in digests.items():
        paths, lines = index.locate_images(name), index.open_split(name).lines
        faults += [
            RowFault(
                index.name_table(name),
                int(lines[i]),
                paths[i],
                f"there is no image {paths[i]}",
                name,
            )
            for i in np.flatnonzero(~stored.records[:, 1:].any(axis=1)).tolist()
        ]
    num_training = index.summary.split_counts["train"]
    num_missing = sum(fault.declared_split == "train" for fault in faults)
    check_faults(index.config, faults, index.get_split, num_training - num_missing)


def _map_records(path: Path, num_images: int) -> Records | None:
    """Return the records of a file (n, 3); None if it is not there or damaged."""
    if not has_array(path, np.uint64, RECORD_WORDS * num_images):
        return None
    records: Records = map_array(path).reshape(-1, RECORD_WORDS)
    return records


def _make_records(paths: Sequence[str], known: Records | None) -> Records:
    """Return the records (n, 3) of images; those that have not changed are not read."""
    records = np.zeros((len(paths), RECORD_WORDS), np.uint64)
    for i, path in enumerate(paths):
        try:
            signature = _hash_signature(path)
            if known is not None and signature and known[i, 0] == signature:
                records[i] = known[i]
                continue
            records[i, 1:] = np.frombuffer(bytes.fromhex(digest_file(Path(path))), np.uint64)
            records[i, 0] = signature if _hash_signature(path) == signature else 0
        except (OSError, ValueError):  # ValueError: a name that no file can have
            records[i] = 0
    return records


def _hash_signature(path: str) -> int:
    """Return a hash of what tells a changed file; 0 for one that may change unseen."""
    signature = file_digests.read_signature(path)
    if not file_digests.is_settled(signature):
        return 0
    return int.from_bytes(blake2b(repr(signature).encode(), digest_size=8).digest(), "little") or 1


def _digest_sorted(index: PackedIndex, digests: dict[SplitName, StoredDigests]) -> str:
    """Return a digest over the images in the order of their names, sorted in files."""
    content_hash = blake2b()
    with TemporaryDirectory(dir=index.folder.parent) as folder:
        streams: list[IO[str]] = []
        try:
            for number, lines in enumerate(_sort_chunks(index, digests)):
                with open(Path(folder, str(number)), "w", encoding="utf-8") as sorted_file:
                    sorted_file.writelines(lines)
                streams.append(open(Path(folder, str(number)), encoding="utf-8"))
            for path, _, digest in heapq.merge(*(map(json.loads, stream) for stream in streams)):
                content_hash.update(f"{path}\0{digest}\n".encode())
        finally:
            for stream in streams:
                stream.close()
    return content_hash.hexdigest()[:32]


def _sort_chunks(
    index: PackedIndex, digests: dict[SplitName, StoredDigests]
) -> Iterator[Iterable[str]]:
    """Yield path, whether it is in the test table, and digest of each image, sorted in chunks."""
    for name, stored in digests.items():
        is_test_table = index.name_table(name) != index.config.path
        paths = index.open_split(name).paths
        for start in range(0, len(paths), CHUNK_SIZE):
            rows = range(start, min(start + CHUNK_SIZE, len(paths)))
            entries = sorted((paths[i], is_test_table, stored[i]) for i in rows)
            yield (f"{json.dumps(entry)}\n" for entry in entries)
