"""Test images that are near-duplicates of training images: a perceptual hash, then grey levels.

The central square of each image becomes 8 by 9 grey levels. Its difference hash has 64 bits:
whether each level is brighter than its left neighbour. Two images are near-duplicates if their
hashes differ in at most `MAX_HASH_DISTANCE` bits and their grey levels by at most
`MAX_GREY_DIFFERENCE` on average: the hash alone, on plain backgrounds, agrees for one pair in a
thousand. Copies that were resized or saved as JPEG again are found (97 in 100 and more); mirrored,
recoloured or cropped ones are not. An image with fewer than `MIN_EDGES` edges is undecidable. Of
pairs of different images, at most `MAX_FALSE_POSITIVE_RATE` are taken for copies: 1 of 1.6 million
emoji of different kinds, none of 20 million of Fashion-MNIST, none of 90 thousand patches of
photographs.

In the user's own data, where test and training images are read alike, images with equal pixels are
duplicates too, however plain they are, unless they are of a single color.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniclip.evaluate.cache import Cache
from uniclip.evaluate.metrics import Numbers
from uniclip.io import hashing, rgb_image

if TYPE_CHECKING:
    from uniclip.data import Split
    from uniclip.evaluate.datasets.images import ImageDataset

VERSION = 1
"""Raised when the same images get other verdicts."""
MAX_HASH_DISTANCE = 4
MAX_GREY_DIFFERENCE = 3.0
MIN_EDGES = 16
NOISE_LEVELS = 2
"""A difference of so many grey levels is no edge: the noise of JPEG."""
MAX_FALSE_POSITIVE_RATE = 2e-6
"""Upper bound of the share of different images (emoji of different kinds) taken for copies."""
ROWS, COLUMNS = 8, 9
BATCH_SIZE = 1024
"""Images read at once."""
TILE_SHAPE = (8, 8192)
"""Test and training hashes compared at once: half a megabyte, which fits in a CPU cache."""

UNDECIDABLE, DISTINCT, DUPLICATE = -1, 0, 1

NO_DIGEST = 0
"""Stands for the digest of an image of a single color, and of one that cannot be read."""

GreyThumbnails = NDArray[np.uint8]


def compute_thumbnail(image: Image.Image) -> GreyThumbnails:
    """Return the central square of an image as (8, 9) uint8 grey levels."""
    crop_size = min(image.size)
    left, top = (image.width - crop_size) // 2, (image.height - crop_size) // 2
    box = (left, top, left + crop_size, top + crop_size)
    small = image.convert("L").resize(
        (COLUMNS, ROWS), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0
    )
    return np.asarray(small, dtype=np.uint8)


def compute_hashes(thumbnails: GreyThumbnails) -> NDArray[np.uint64]:
    """Return the difference hash of each of (n, 8, 9) grey images, (n,) uint64."""
    bits = _horizontal_differences(thumbnails) > NOISE_LEVELS
    return np.packbits(bits.reshape(len(thumbnails), ROWS * (COLUMNS - 1)), axis=1).view(np.uint64)[
        :, 0
    ]


def find_duplicates(test: GreyThumbnails, train: GreyThumbnails) -> NDArray[np.int8]:
    """Return whether each of (n, 8, 9) test images is a copy of any of (m, 8, 9) training images.

    (n,) int8 of `DUPLICATE`, `DISTINCT` and `UNDECIDABLE`, whatever the order of the images.
    Compared a block at a time.
    """
    train = train[_count_edges(train) >= MIN_EDGES]
    verdicts = np.where(_count_edges(test) >= MIN_EDGES, DISTINCT, UNDECIDABLE).astype(np.int8)
    decidable_index = np.flatnonzero(verdicts == DISTINCT)
    test_hashes, train_hashes = compute_hashes(test[decidable_index]), compute_hashes(train)
    for i, j in product(
        range(0, len(test_hashes), TILE_SHAPE[0]), range(0, len(train_hashes), TILE_SHAPE[1])
    ):
        tile = np.bitwise_count(
            test_hashes[i : i + TILE_SHAPE[0], None] ^ train_hashes[None, j : j + TILE_SHAPE[1]]
        )
        candidates = np.flatnonzero(tile <= MAX_HASH_DISTANCE)
        if len(candidates):
            row, column = np.divmod(candidates, tile.shape[1])
            test_index = decidable_index[i + row]
            grey_difference = np.abs(test[test_index].astype(np.int16) - train[j + column]).mean(
                axis=(1, 2)
            )
            verdicts[test_index[grey_difference <= MAX_GREY_DIFFERENCE]] = DUPLICATE
    return verdicts


@dataclass(frozen=True)
class ImageSignatures:
    """What is compared of n images."""

    thumbnails: GreyThumbnails
    """(n, 8, 9) uint8 grey levels; 0 for an image that cannot be read."""
    pixel_digests: NDArray[np.uint64]
    """(n,) uint64: equal where all pixels are; `NO_DIGEST` = not to be compared."""


def find_user_duplicates(test: ImageSignatures, train: ImageSignatures) -> NDArray[np.int8]:
    """Return what `find_duplicates` does; images with equal pixels are `DUPLICATE` too."""
    verdicts = find_duplicates(test.thumbnails, train.thumbnails)
    is_copy = np.isin(test.pixel_digests, train.pixel_digests) & (test.pixel_digests != NO_DIGEST)
    verdicts[is_copy] = DUPLICATE
    return verdicts


def compute_split_signatures(split: Split) -> ImageSignatures:
    """Return the signatures of the images of a training source, read a batch at a time."""
    thumbnails = np.zeros((len(split), ROWS, COLUMNS), np.uint8)
    pixel_digests = np.full(len(split), NO_DIGEST, np.uint64)
    for start in range(0, len(split), BATCH_SIZE):
        index = np.arange(start, min(start + BATCH_SIZE, len(split)))
        pixels, is_readable = split.load_readable_pixels(index)
        for i, image in zip(index[is_readable], pixels[is_readable]):
            thumbnails[i] = compute_thumbnail(Image.fromarray(image.transpose(1, 2, 0)))
            pixel_digests[i] = _digest_pixels(image)
    return ImageSignatures(thumbnails, pixel_digests)


def compute_dataset_signatures(dataset: ImageDataset, image_size: int) -> ImageSignatures:
    """Return the signatures of the images of an evaluation split; each is decoded once.

    image_size: Side of the training images that they are compared with, in pixels.
    """
    thumbnails = np.zeros((len(dataset), ROWS, COLUMNS), np.uint8)
    pixel_digests = np.full(len(dataset), NO_DIGEST, np.uint64)
    for i in range(len(dataset)):
        image = dataset.load_image(i)
        thumbnails[i] = compute_thumbnail(image)
        pixel_digests[i] = _digest_pixels(rgb_image.crop_and_resize(image, image_size))
    return ImageSignatures(thumbnails, pixel_digests)


def _digest_pixels(image: NDArray[np.uint8]) -> int:
    """Return 64 bits over the pixels (3, H, W) of an image; `NO_DIGEST` for a single color."""
    if rgb_image.is_one_color(image):
        return NO_DIGEST
    return int.from_bytes(blake2b(image.tobytes(), digest_size=8).digest(), "big")


def compute_dataset_thumbnails(dataset: ImageDataset) -> GreyThumbnails:
    """Return (n, 8, 9) grey levels of an evaluation split; each photograph is decoded once.

    Those of an image are of the whole photograph of which it is a part.
    """
    first, photographs = np.arange(len(dataset)), np.arange(len(dataset))
    if dataset.cluster_rows is not None:
        _, first, photographs = np.unique(
            dataset.cluster_rows, return_index=True, return_inverse=True
        )
    thumbnails = np.empty((len(first), ROWS, COLUMNS), np.uint8)
    for row, i in enumerate(first.tolist()):
        thumbnails[row] = compute_thumbnail(dataset.load_photograph(i))
    return thumbnails[photographs]


def compute_split_thumbnails(split: Split) -> GreyThumbnails:
    """Return (n, 8, 9) grey levels of training images; 0 for those that cannot be read."""
    return compute_split_signatures(split).thumbnails


@dataclass(frozen=True)
class DuplicateFinder:
    """Near-duplicates between a test split and a training split, cached for all models."""

    cache: Cache
    """Cache of thumbnails and verdicts, by the fingerprints of the splits. What is missing or
    damaged is computed again."""
    test_location: Mapping[str, Any]
    """Where the test images are, as plain JSON: the key of the last verdicts."""
    train_fingerprint: Mapping[str, Any]
    """Fingerprint of the training split."""

    def find(
        self,
        test_fingerprint: Mapping[str, Any],
        compute_test_thumbnails: Callable[[], GreyThumbnails],
        compute_train_thumbnails: Callable[[], GreyThumbnails],
    ) -> NDArray[np.int8]:
        """Return the verdicts of `find_duplicates`, from the cache or computed."""

        def compare() -> Numbers:
            return find_duplicates(
                self._get_or_compute({"thumbnails": test_fingerprint}, compute_test_thumbnails),
                self._get_or_compute(
                    {"thumbnails": self.train_fingerprint}, compute_train_thumbnails
                ),
            )

        key = {"duplicates_of": test_fingerprint, "train": self.train_fingerprint}
        verdicts = self._get_or_compute(key, compare)
        self.cache.write_note(self._note_name(), verdicts.tolist())
        return verdicts

    def find_in_user_data(
        self,
        test_fingerprint: Mapping[str, Any],
        compute_test_signatures: Callable[[], ImageSignatures],
        compute_train_signatures: Callable[[], ImageSignatures],
    ) -> NDArray[np.int8]:
        """Return the verdicts of `find_user_duplicates`, from the cache or computed."""

        def compare() -> Numbers:
            return find_user_duplicates(compute_test_signatures(), compute_train_signatures())

        key = {"duplicates_of_table": test_fingerprint, "train": self.train_fingerprint}
        verdicts = self._get_or_compute(key, compare)
        self.cache.write_note(self._note_name(), verdicts.tolist())
        return verdicts

    def read_last_verdicts(self) -> NDArray[np.int8] | None:
        """Return the last verdicts on the test images at this location; None if there are none."""
        verdicts = self.cache.read_note(self._note_name())
        return None if verdicts is None else np.array(verdicts, np.int8)

    def _get_or_compute(self, key: Mapping[str, Any], compute: Callable[[], Numbers]) -> Numbers:
        return self.cache.get_or_compute({**key, "version": VERSION}, lambda: {"array": compute()})[
            "array"
        ]

    def _note_name(self) -> str:
        return hashing.digest(
            {
                "version": VERSION,
                "test": dict(self.test_location),
                "train": dict(self.train_fingerprint),
            }
        )


def _horizontal_differences(thumbnails: GreyThumbnails) -> NDArray[np.int16]:
    levels = thumbnails.astype(np.int16)
    return levels[:, :, 1:] - levels[:, :, :-1]


def _count_edges(thumbnails: GreyThumbnails) -> NDArray[np.int64]:
    """Return the number of edges, of at most 64, in each of (n, 8, 9) images, (n,)."""
    return np.asarray((np.abs(_horizontal_differences(thumbnails)) > NOISE_LEVELS).sum(axis=(1, 2)))
