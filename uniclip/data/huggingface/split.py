"""The splits of a data set with embedded images; images are decoded on demand.

Validation and test have only images that can be read: they are decoded once, when a split is
opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from uniclip.config import HuggingfaceData
from uniclip.data.csv.packed_split import CaptionLists, ChosenTokens, PackedSplit
from uniclip.data.huggingface.embedded_images import GROUP_CACHE_BYTES, EmbeddedImages
from uniclip.data.huggingface.index import DatasetIndex, open_index
from uniclip.data.image_files import ImageFileSplit
from uniclip.data.split import SplitName
from uniclip.data.text.caption_tokens import CaptionTokens
from uniclip.data.text.packed_tokens import map_tokens
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.data.windowed_order import ShardGroups
from uniclip.errors import UserError
from uniclip.io import image_check
from uniclip.io.hashing import digest
from uniclip.io.image_check import ImageLocation
from uniclip.io.memo import get_cache_folder


@dataclass(frozen=True, kw_only=True)
class HuggingfaceSplit(ImageFileSplit):
    """Images within Arrow or Parquet files."""

    removal: ClassVar[tuple[str, str]] = ("remove its row", "remove their rows")

    rows: NDArray[np.uint32]
    """(n,) row of each image, ascending."""
    images: EmbeddedImages
    packed: PackedSplit
    """All samples of the split, those included whose images cannot be read."""

    def divide_cache(self, num_workers: int) -> None:
        self.images.limit(GROUP_CACHE_BYTES // num_workers)

    def name_image(self, i: int) -> str:
        """Return file and row of an image."""
        return self.images.name_row(int(self.rows[i]))

    def get_image_file(self, i: int) -> BytesIO:
        """Return the content of an image file; `DataChangedError` if it changed."""
        return BytesIO(self.images.read(int(self.rows[i])))

    def encode_captions(self, tokenizer: Tokenizer, context_length: int) -> CaptionTokens:
        """Return the tokens of all captions; those of a whole split are kept beside the index."""
        if len(self) < len(self.packed):
            return super().encode_captions(tokenizer, context_length)
        return ChosenTokens(map_tokens(self.packed, tokenizer, context_length), self.packed)


def open_split(config: HuggingfaceData, split_name: SplitName) -> HuggingfaceSplit:
    """Return one split; the data set is indexed first if there is no index.

    Raises:
        UserError: More samples than allowed cannot be used.
    """
    index = open_index(config)
    packed, images = index.open_split(split_name), index.open_images()
    captions: Sequence[tuple[str, ...]] = CaptionLists(packed, range(len(packed)))
    sample_names: Sequence[str] = packed.paths
    ids, rows = packed.ids, packed.lines
    class_names = tuple(index.content.class_names)
    labels = packed.labels if class_names else np.full(len(packed), -1)
    if split_name != "train":
        unreadable = check_held_out(config, index, split_name)[0]
        chosen = np.delete(np.arange(len(packed)), unreadable)
        captions = tuple(captions[i] for i in chosen.tolist())
        sample_names = tuple(packed.paths[i] for i in chosen.tolist())
        ids, rows, labels = ids[chosen], rows[chosen], labels[chosen]
    num_samples = index.content.num_samples + index.content.num_broken
    return HuggingfaceSplit(
        ids=ids,
        captions=captions,
        labels={"label": labels} if config.label_column else {},
        class_names={"label": class_names} if config.label_column else {},
        training_labels=labels if config.label_column else None,
        sample_names=sample_names,
        shard_groups=_group_rows(config, index, rows),
        rows=rows,
        images=images,
        packed=packed,
        image_size=config.image_size,
        max_broken=config.max_broken,
        num_allowed=config.count_allowed_broken(num_samples),
        num_samples=num_samples,
        num_skipped=index.content.num_broken,
    )


def check_held_out(
    config: HuggingfaceData, index: DatasetIndex, split_name: SplitName
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Decode the images of a held-out split; what was found readable is remembered.

    Returns:
        The positions in the split of the images that cannot be read, and place and fault of each.

    Raises:
        UserError: More of them than allowed cannot be read.
        DataChangedError: A file is not as it was when it was indexed.
    """
    images, rows = index.open_images(), index.open_split(split_name).lines.tolist()
    locations = []
    for row in rows:
        file, start, length = images.locate(row)
        read = partial(images.read, row) if file.is_parquet else None
        locations.append(ImageLocation(images.name_row(row), file.path, start, length, read))
    memory_name = digest([index.folder.name, split_name, config.image_size])
    memory_path = Path(get_cache_folder(), "checked_images", memory_name)
    findings = image_check.check_images(locations, config.image_size, memory_path)
    findings.remember()
    unreadable = findings.unreadable
    if len(unreadable) > config.count_allowed_broken(len(rows)):
        raise UserError(
            f"{len(unreadable)} of {len(rows)} {split_name} images of {config.path} cannot be "
            f"read, more than data.max_broken={config.max_broken:g} allows: "
            f"{'; '.join(unreadable[:3])}; repair them or raise data.max_broken"
        )
    return findings.unreadable_positions, unreadable


def _group_rows(
    config: HuggingfaceData, index: DatasetIndex, rows: NDArray[np.uint32]
) -> ShardGroups | None:
    if config.order == "full":
        return None
    return ShardGroups(np.searchsorted(rows, index.group_rows), config.window_groups)
