"""The splits of an index of shards; images are decoded on demand, from where they are.

Splits are assigned by a hash of the name of the image. Validation and test have only images that
can be read: they are decoded once, when a split is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from uniclip.config import WebdatasetData
from uniclip.data.image_files import ImageFileSplit
from uniclip.data.split import SplitName
from uniclip.data.text.caption_tokens import CaptionTokens
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.data.webdataset.assignment import (
    assign_held_out,
    check_broken,
    divide_sources,
    map_training_rows,
)
from uniclip.data.webdataset.index import ShardIndex, open_index
from uniclip.data.webdataset.paths import has_several_sources
from uniclip.data.webdataset.shard_files import ShardFiles
from uniclip.data.webdataset.tokens import PackedCaptions, encode_index
from uniclip.data.windowed_order import ShardGroups
from uniclip.errors import UserError
from uniclip.io import image_check
from uniclip.io.hashing import digest
from uniclip.io.image_check import ImageLocation
from uniclip.io.lazy_sequence import LazySequence
from uniclip.io.memo import get_cache_folder
from uniclip.io.tar_scan import BLOCK


@dataclass(frozen=True, kw_only=True)
class WebdatasetSplit(ImageFileSplit):
    """Images within shards."""

    removal: ClassVar[tuple[str, str]] = ("leave its shard out", "leave their shards out")

    index: ShardIndex
    rows: NDArray[np.uint32]
    """(n,) the samples of the index, ascending."""
    files: ShardFiles

    def name_image(self, i: int) -> str:
        """Return shard and member of an image."""
        shard, start, _ = self._locate(i)
        return f"{self.index.shards[shard].path}: {self.files.read_name(shard, start)}"

    def encode_captions(self, tokenizer: Tokenizer, context_length: int) -> CaptionTokens:
        """Return the tokens of all captions, which are kept beside the index."""
        return encode_index(self.index, self.rows, tokenizer, context_length)

    def read_bytes(self, i: int) -> bytes:
        """Return the file of an image as it is in the shard; `DataChangedError` if it changed."""
        return self.files.read(*self._locate(i))

    def get_image_file(self, i: int) -> BytesIO:
        """Return the content of an image file; raises as `read_bytes`."""
        return BytesIO(self.read_bytes(i))

    def _locate(self, i: int) -> tuple[int, int, int]:
        """Return shard, first byte and number of bytes of an image."""
        row = int(self.rows[i])
        shard = int(self.index.find_shards(np.array([row]))[0])
        return shard, int(self.index.blocks[row]) * BLOCK, int(self.index.lengths[row])


@dataclass(frozen=True, eq=False)
class MemberNames(LazySequence[str]):
    """Shard and member of the image of each of some samples, read where they are asked for.

    With several sources, whose shards may have the same names, the number of the source is before
    them, from 1 on.
    """

    shard_index: ShardIndex
    rows: NDArray[np.uint32]
    """(n,) the samples of the index."""
    files: ShardFiles

    def __len__(self) -> int:
        return len(self.rows)

    def get_slice(self, items: slice) -> Sequence[str]:
        return MemberNames(self.shard_index, self.rows[items], self.files)

    def get_item(self, i: int) -> str:
        row = int(self.rows[i])
        shard = int(self.shard_index.find_shards(np.array([row]))[0])
        member = self.files.read_name(shard, int(self.shard_index.blocks[row]) * BLOCK)
        shards = self.shard_index.shards
        source = f"source {shards[shard].source + 1}: " if has_several_sources(shards) else ""
        return f"{source}{shards[shard].name}/{member}"


def open_split(config: WebdatasetData, split_name: SplitName) -> WebdatasetSplit:
    """Return one split; the shards are indexed first if there is no index.

    Raises:
        UserError: More samples than allowed cannot be used.
    """
    index = open_index(config)
    check_broken(config, index)
    files = ShardFiles(index.shards)
    if split_name == "train":
        rows, ids = map_training_rows(config, index)
    else:
        rows = assign_held_out(config, index)[split_name]
        rows = check_held_out(config, index, rows, split_name).readable_rows
        ids = index.ids[rows]
    num_samples = len(index) + index.summary.num_broken
    return WebdatasetSplit(
        ids=ids,
        captions=PackedCaptions(index, rows),
        sample_names=MemberNames(index, rows, files),
        source_shares=tuple(divide_sources(config, index)) if split_name == "train" else (),
        shard_groups=_group_shards(config, index, rows),
        index=index,
        rows=rows,
        files=files,
        image_size=config.image_size,
        max_broken=config.max_broken,
        num_allowed=config.count_allowed_broken(num_samples),
        num_samples=num_samples,
        num_skipped=index.summary.num_broken,
    )


def open_all_images(index: ShardIndex, image_size: int) -> WebdatasetSplit:
    """Return all samples of an index, whatever split they are in."""
    rows, files = np.arange(len(index), dtype=np.uint32), ShardFiles(index.shards)
    return WebdatasetSplit(
        ids=index.ids,
        captions=PackedCaptions(index, rows),
        sample_names=MemberNames(index, rows, files),
        index=index,
        rows=rows,
        files=files,
        image_size=image_size,
    )


@dataclass(frozen=True)
class HeldOutImages:
    """Which images of a held-out split can be read."""

    readable_rows: NDArray[np.uint32]
    """Samples of the index whose images can be read."""
    unreadable: tuple[str, ...]
    """Shard, member and fault of each of the others."""


def check_held_out(
    config: WebdatasetData, index: ShardIndex, rows: NDArray[np.uint32], split_name: SplitName
) -> HeldOutImages:
    """Decode the images of held-out samples; what was found readable is remembered.

    Raises:
        UserError: More of them than allowed cannot be read.
        DataChangedError: A shard is not as it was when it was indexed.
    """
    shards = index.find_shards(rows.astype(np.int64)).tolist()
    locations = [
        ImageLocation(
            str(row),
            index.shards[shard].path,
            int(index.blocks[row]) * BLOCK,
            int(index.lengths[row]),
        )
        for row, shard in zip(rows.tolist(), shards)
    ]
    memory_name = digest([index.folder.name, split_name, config.image_size])
    memory_path = Path(get_cache_folder(), "checked_images", memory_name)
    findings = image_check.check_images(locations, config.image_size, memory_path)
    findings.remember()
    positions, files = findings.unreadable_positions, ShardFiles(index.shards)
    unreadable = []
    for position, description in zip(positions, findings.unreadable):
        location, shard = locations[position], shards[position]
        fault = description.removeprefix(location.name)
        unreadable.append(f"{location.path}: {files.read_name(shard, location.start)}{fault}")
    if len(positions) > config.count_allowed_broken(len(rows)):
        raise UserError(
            f"{len(positions)} of {len(rows)} {split_name} images of {config.path} cannot be read, "
            f"more than data.max_broken={config.max_broken:g} allows: {'; '.join(unreadable[:3])}; "
            "repair the shards or raise data.max_broken"
        )
    return HeldOutImages(np.delete(rows, positions), tuple(unreadable))


def _group_shards(
    config: WebdatasetData, index: ShardIndex, rows: NDArray[np.uint32]
) -> ShardGroups | None:
    if config.order == "full":
        return None
    return ShardGroups(np.searchsorted(rows, index.first_samples), config.window_shards)
