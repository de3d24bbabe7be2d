"""What indexed shards hold beyond their names and sizes: a digest for the records of runs.

A shard that is rewritten in place at its old size has another digest if a caption, a key or the
place of an image changed, or what a condition selects; other pixels in the same number of bytes are
not seen (`data.verify=true`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from typing import Any

from numpy.typing import NDArray

from uniclip.config import WebdatasetData
from uniclip.data.webdataset.index import IndexRequest, ShardIndex, find_index, open_index
from uniclip.data.webdataset.labelled_images import request_classes
from uniclip.data.webdataset.labelled_sources import list_labelled_sources
from uniclip.data.webdataset.sample_filters import map_accepted
from uniclip.io.array_file import map_array
from uniclip.io.hashing import digest
from uniclip.io.memo import disk_memoize

VERSION = 1
"""Raised when the same shards get another digest; those of other versions are not compared."""
ARRAYS = ("blocks", "lengths", "ids", "caption_ends", "captions")
"""Arrays of the index that a digest is of; ids are hashes of the keys."""
CHUNK_BYTES = 2**24


def identify_content(config: WebdatasetData, builds_index: bool) -> dict[str, str]:
    """Return a digest of the shards of pairs, and of each labelled source of shards.

    A key is a digest of the names and sizes of the shards and of what is read of them, wherever
    they lie; the samples that `data.where` selects have a second key. Without `builds_index`,
    only of shards that are indexed.

    Raises:
        UserError: A shard is missing or cannot be read.
    """
    contents = {}
    for request in _list_requests(config):
        index = open_index(request) if builds_index else find_index(request)
        if index is not None:
            contents[_name_key(request, index)] = disk_memoize(
                "shard-contents",
                f"{VERSION}-{index.folder.name}",
                partial(_digest_index, index),
            )
            if request.where is not None:
                accepted = map_accepted(index.folder, request.where)
                contents[_name_key(request, index, request.where)] = _digest_array(accepted)
    return contents


def _list_requests(config: WebdatasetData) -> Iterator[IndexRequest | WebdatasetData]:
    yield config
    for source in list_labelled_sources(config):
        if not source.is_folder:
            yield request_classes(source)


def _name_key(
    request: IndexRequest | WebdatasetData, index: ShardIndex, where: str | None = None
) -> str:
    shards = [[shard.source, shard.name, shard.size] for shard in index.shards]
    is_pairs = isinstance(request, WebdatasetData)
    kind = "pairs" if is_pairs else "labelled"
    selection: dict[str, object] = {"min_side": request.min_side, "where": where}
    return digest([VERSION, shards, kind, {k: v for k, v in selection.items() if v}], 16)


def _digest_index(index: ShardIndex) -> str:
    """Return 32 hex digits over what the index holds."""
    content_hash = blake2b(digest_size=16)
    content_hash.update(repr(index.summary.first_samples).encode())
    for name in ARRAYS:
        _add_array(content_hash, map_array(index.folder / f"{name}.npy"))
    return content_hash.hexdigest()


def _digest_array(array: NDArray[Any]) -> str:
    content_hash = blake2b(digest_size=16)
    _add_array(content_hash, array)
    return content_hash.hexdigest()


def _add_array(content_hash: blake2b, array: NDArray[Any]) -> None:
    step = CHUNK_BYTES // array.itemsize
    for start in range(0, len(array), step):
        content_hash.update(array[start : start + step].tobytes())
