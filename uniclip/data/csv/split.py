"""The splits of a CSV file; images are decoded on demand.

Splits are assigned by a hash of the path, so adding an image moves no other image.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from uniclip.augmentation.resample import Photograph
from uniclip.config import CsvData
from uniclip.data.csv import content, image_digests, packed_index
from uniclip.data.csv.image_cache import ImageCache
from uniclip.data.csv.packed_split import CaptionLists, ChosenTokens, PackedSplit
from uniclip.data.csv.rows import locate_images, must_look_up, read_index
from uniclip.data.image_files import Decoded, ImageFileSplit
from uniclip.data.split import SplitName
from uniclip.data.text.caption_tokens import CaptionTokens
from uniclip.data.text.packed_tokens import map_tokens
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.io import hashing
from uniclip.rng import hash_sample_id

IMAGE_CACHE_BYTES = 2**28
"""Memory for the squares of images, in bytes for a training process and its data workers."""
PHOTOGRAPH_CACHE_BYTES = 2**29
"""Memory for the photographs that views are made of, likewise."""


@dataclass(frozen=True, kw_only=True)
class CsvSplit(ImageFileSplit):
    """Images read from files, by the rule of `uniclip.io.rgb_image`."""

    removal: ClassVar[tuple[str, str]] = ("remove the row", "remove the rows")

    csv_path: str
    """Path of the CSV file, for messages."""
    line_numbers: Sequence[int] | NDArray[np.uint32]
    image_paths: Sequence[str]
    image_digests: Sequence[str] = ()
    """Digest of the content of each image file with `data.verify=true`, else empty."""
    image_cache: ImageCache[NDArray[np.uint8]] = field(
        default_factory=lambda: ImageCache(IMAGE_CACHE_BYTES), compare=False
    )
    photograph_cache: ImageCache[Photograph] = field(
        default_factory=lambda: ImageCache(PHOTOGRAPH_CACHE_BYTES), compare=False
    )

    def divide_cache(self, num_workers: int) -> None:
        self.image_cache.limit(IMAGE_CACHE_BYTES // num_workers)
        self.photograph_cache.limit(PHOTOGRAPH_CACHE_BYTES // num_workers)

    def compute_files_digest(self) -> str:
        """Return a digest of the sizes and times of change of the image files."""
        return hashing.digest([_read_signature(path) for path in self.image_paths], 32)

    def name_image(self, i: int) -> str:
        """Return line and file of an image."""
        return f"{self.csv_path} line {self.line_numbers[i]}: image {self.image_paths[i]}"

    def get_image_file(self, i: int) -> Path:
        """Return the file of an image."""
        return Path(self.image_paths[i])

    def load_image(self, i: int) -> NDArray[np.uint8] | None:
        """Return the image (3, H, W), or None if it cannot be read."""
        image = self.image_cache.get(i)
        if image is None and (image := super().load_image(i)) is not None:
            self.image_cache.add(i, image, image.nbytes)
        return image

    def load_photograph(self, i: int) -> Photograph | None:
        """Return the photograph that views are made of, or None if it cannot be read."""
        photograph = self.photograph_cache.get(i)
        if photograph is None and (photograph := super().load_photograph(i)) is not None:
            self.photograph_cache.add(i, photograph, photograph.num_bytes)
        return photograph

    def _decode(self, i: int, read: Callable[[Path | BytesIO, int], Decoded]) -> Decoded | None:
        """Return an image as `read` does; with `data.verify=true` only if it is as planned."""
        self._require_planned_content(i)
        image = super()._decode(i, read)
        self._require_planned_content(i)
        return image

    def _require_planned_content(self, i: int) -> None:
        """With `data.verify=true`, raise `DataChangedError` if an image file has changed."""
        if self.image_digests:
            content.require_image(self.image_paths[i], self.image_digests[i])


@dataclass(frozen=True, kw_only=True)
class PackedCsvSplit(CsvSplit):
    """Images of a large table, most of whose rows are not in memory."""

    packed: PackedSplit

    def encode_captions(self, tokenizer: Tokenizer, context_length: int) -> CaptionTokens:
        """Return the tokens of all captions, which are kept beside the index."""
        return ChosenTokens(map_tokens(self.packed, tokenizer, context_length), self.packed)

    def divide_cache(self, num_workers: int) -> None:
        """Keep the empty caches: an image is used again an epoch later only."""


def _read_signature(path: str) -> list[int]:
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def open_split(config: CsvData, split_name: SplitName) -> CsvSplit:
    """Return one split; `UserError` for the first row that cannot be used."""
    if not must_look_up(config):
        return _open_packed_split(config, split_name)
    index = read_index(config)
    samples = index.samples
    class_names = tuple(sorted({sample.label for sample in samples if sample.label}))
    split_samples = [sample for sample in samples if index.get_split(sample) == split_name]
    skipped_rows = [row for row in index.skipped_rows if index.get_split(row) == split_name]
    class_indices = {name: i for i, name in enumerate(class_names)}
    labels = np.array(
        [class_indices[sample.label] if sample.label else -1 for sample in split_samples], np.int64
    )
    image_paths = locate_images(split_samples)
    return CsvSplit(
        ids=np.array([hash_sample_id(f"csv/{sample.path}") for sample in split_samples], np.uint64),
        captions=tuple(tuple(sample.captions) for sample in split_samples),
        labels={"label": labels} if config.label_column else {},
        class_names={"label": class_names} if config.label_column else {},
        training_labels=labels if config.label_column else None,
        sample_names=tuple(sample.path for sample in split_samples),
        csv_path=config.test_path if split_name == "test" and config.test_path else config.path,
        line_numbers=tuple(sample.line for sample in split_samples),
        image_paths=tuple(map(str, image_paths)),
        image_digests=tuple(content.digest_images(image_paths)) if config.verify else (),
        image_size=config.image_size,
        max_broken=config.max_broken,
        num_allowed=config.count_allowed_broken(len(split_samples) + len(skipped_rows)),
        num_skipped=len(skipped_rows),
    )


def _open_packed_split(config: CsvData, split_name: SplitName) -> PackedCsvSplit:
    index = packed_index.open_index(config)
    packed, class_names = index.open_split(split_name), tuple(index.content.class_names)
    labels = packed.labels if class_names else np.full(len(packed), -1)
    num_skipped = sum(index.get_split(row) == split_name for row in index.content.faults)
    return PackedCsvSplit(
        ids=packed.ids,
        captions=CaptionLists(packed, range(len(packed))),
        labels={"label": labels} if config.label_column else {},
        class_names={"label": class_names} if config.label_column else {},
        training_labels=labels if config.label_column else None,
        sample_names=packed.paths,
        csv_path=index.name_table(split_name),
        line_numbers=packed.lines,
        image_paths=index.locate_images(split_name),
        image_digests=image_digests.read_digests(index, split_name) if config.verify else (),
        image_size=config.image_size,
        max_broken=config.max_broken,
        num_allowed=config.count_allowed_broken(len(packed) + num_skipped),
        num_skipped=num_skipped,
        image_cache=ImageCache(0),
        photograph_cache=ImageCache(0),
        packed=packed,
    )
