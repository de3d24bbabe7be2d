"""Which test pictures a model saw in training, nearly: a perceptual hash, and a second look.

Each picture's central square becomes 8 by 9 grey levels. Its difference hash has 64 bits: whether
each is brighter than its left neighbour. Two pictures are near-duplicates if their hashes differ in
at most `BITS` bits and their grey levels by at most `LEVELS` on average: the hash alone, on plain
backgrounds, agrees for one pair in a thousand. Copies that were saved as JPEG again or resized are
found (97 in 100 and more); mirrored, recoloured or cropped ones are not. A picture with fewer than
`CHANGES` places where it changes is too plain to be told from others, and is not judged. Of pairs
of unlike pictures, at most `WRONG` are taken for copies: 1 of 1.6 million emoji of different kinds,
none of 20 million of Fashion-MNIST, none of 90 thousand patches of photographs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniclip import identity
from uniclip.evaluate.cache import Cache

if TYPE_CHECKING:
    from uniclip.data import Split
    from uniclip.evaluate.datasets.images import ImageDataset

VERSION = 1
"""Raised when the same pictures are judged otherwise."""
MAX_HASH_DISTANCE = 4
MAX_GREY_DIFFERENCE = 3.0
MIN_EDGES = 16
NOISE_LEVELS = 2
"""Grey levels that are no change: the noise of JPEG."""
MAX_FALSE_POSITIVE_RATE = 2e-6
"""At most so many pairs of unlike pictures (emoji of different kinds) are taken for one."""
ROWS, COLUMNS = 8, 9
BATCH_SIZE = 1024
"""Pictures read at once."""
TILE_SHAPE = (8, 8192)
"""Test and training hashes compared at once: half a megabyte, which a cache holds."""

UNDECIDABLE, DISTINCT, DUPLICATE = -1, 0, 1

GreyThumbnails = NDArray[np.uint8]


def compute_thumbnail(image: Image.Image) -> GreyThumbnails:
    """The central square of a picture as (8, 9) uint8 grey levels."""
    crop_size = min(image.size)
    left, top = (image.width - crop_size) // 2, (image.height - crop_size) // 2
    box = (left, top, left + crop_size, top + crop_size)
    small = image.convert("L").resize(
        (COLUMNS, ROWS), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0
    )
    return np.asarray(small, dtype=np.uint8)


def compute_hashes(thumbnails: GreyThumbnails) -> NDArray[np.uint64]:
    """The difference hash of each of (n, 8, 9) grey pictures: (n,) uint64."""
    bits = _horizontal_differences(thumbnails) > NOISE_LEVELS
    return np.packbits(bits.reshape(len(thumbnails), ROWS * (COLUMNS - 1)), axis=1).view(np.uint64)[
        :, 0
    ]


def find_duplicates(test: GreyThumbnails, train: GreyThumbnails) -> NDArray[np.int8]:
    """Of each of (n, 8, 9) test pictures: `NEAR` to some of (m, 8, 9) training ones, `APART` from
    all, or `TOO_PLAIN`: (n,) int8. Compared a block at a time; the order of pictures is nothing."""
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


def compute_dataset_thumbnails(dataset: ImageDataset) -> GreyThumbnails:
    """(n, 8, 9) grey levels of an evaluation set's pictures; each is decoded once."""
    thumbnails = np.empty((len(dataset), ROWS, COLUMNS), np.uint8)
    for i in range(len(dataset)):
        thumbnails[i] = compute_thumbnail(dataset.load_image(i))
    return thumbnails


def compute_split_thumbnails(split: Split) -> GreyThumbnails:
    """(n, 8, 9) grey levels of training pictures, read a piece at a time."""
    thumbnails = np.empty((len(split), ROWS, COLUMNS), np.uint8)
    for start in range(0, len(split), BATCH_SIZE):
        index = np.arange(start, min(start + BATCH_SIZE, len(split)))
        for i, image in zip(index, split.load_pixels(index)):
            thumbnails[i] = compute_thumbnail(Image.fromarray(image.transpose(1, 2, 0)))
    return thumbnails


def find_duplicates_cached(
    cache: Cache,
    test_location: Mapping[str, Any],
    test_fingerprint: Mapping[str, Any],
    train_fingerprint: Mapping[str, Any],
    compute_test_thumbnails: Callable[[], GreyThumbnails],
    compute_train_thumbnails: Callable[[], GreyThumbnails],
) -> NDArray[np.int8]:
    """`near`, of pictures that are looked at once for all models.

    cache: where grey levels and findings are kept, by the fingerprints `test` and `train`; `place`
    is where the test pictures lie, for `last`. What is missing or damaged is made again.
    """

    def compare() -> NDArray[Any]:
        return find_duplicates(
            _get_or_compute(cache, {"greys": test_fingerprint}, compute_test_thumbnails),
            _get_or_compute(cache, {"greys": train_fingerprint}, compute_train_thumbnails),
        )

    verdicts = _get_or_compute(cache, {"near": test_fingerprint, "in": train_fingerprint}, compare)
    cache.write_note(_note_name(test_location, train_fingerprint), verdicts.tolist())
    return verdicts


def read_last_verdicts(
    cache: Cache, test_location: Mapping[str, Any], train_fingerprint: Mapping[str, Any]
) -> NDArray[np.int8] | None:
    """What `check` last found of the test pictures that lay at `place`; None if it never did."""
    verdicts = cache.read_note(_note_name(test_location, train_fingerprint))
    return None if verdicts is None else np.array(verdicts, np.int8)


def _get_or_compute(
    cache: Cache, key: Mapping[str, Any], compute: Callable[[], NDArray[Any]]
) -> NDArray[Any]:
    return cache.get_or_compute({**key, "version": VERSION}, lambda: {"kept": compute()})["kept"]


def _note_name(test_location: Mapping[str, Any], train_fingerprint: Mapping[str, Any]) -> str:
    return identity.digest(
        {"version": VERSION, "at": dict(test_location), "in": dict(train_fingerprint)}
    )


def _horizontal_differences(thumbnails: GreyThumbnails) -> NDArray[np.int16]:
    levels = thumbnails.astype(np.int16)
    return levels[:, :, 1:] - levels[:, :, :-1]


def _count_edges(thumbnails: GreyThumbnails) -> NDArray[np.int64]:
    """In how many of 64 places each of (n, 8, 9) pictures changes, (n,)."""
    return np.asarray((np.abs(_horizontal_differences(thumbnails)) > NOISE_LEVELS).sum(axis=(1, 2)))
