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
    from uniclip.evaluate.datasets.images import Pictures

VERSION = 1
"""Raised when the same pictures are judged otherwise."""
BITS = 4
LEVELS = 3.0
CHANGES = 16
STEP = 2
"""Grey levels that are no change: the noise of JPEG."""
WRONG = 2e-6
"""At most so many pairs of unlike pictures (emoji of different kinds) are taken for one."""
ROWS, COLUMNS = 8, 9
PIECE = 1024
"""Pictures read at once."""
TILE = (8, 8192)
"""Test and training hashes compared at once: half a megabyte, which a cache holds."""

TOO_PLAIN, APART, NEAR = -1, 0, 1

Greys = NDArray[np.uint8]


def grey(picture: Image.Image) -> Greys:
    """The central square of a picture as (8, 9) uint8 grey levels."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    box = (left, top, left + side, top + side)
    small = picture.convert("L").resize(
        (COLUMNS, ROWS), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0
    )
    return np.asarray(small, dtype=np.uint8)


def hashes(greys: Greys) -> NDArray[np.uint64]:
    """The difference hash of each of (n, 8, 9) grey pictures: (n,) uint64."""
    bits = _steps(greys) > STEP
    return np.packbits(bits.reshape(len(greys), ROWS * (COLUMNS - 1)), axis=1).view(np.uint64)[:, 0]


def near(test: Greys, train: Greys) -> NDArray[np.int8]:
    """Of each of (n, 8, 9) test pictures: `NEAR` to some of (m, 8, 9) training ones, `APART` from
    all, or `TOO_PLAIN`: (n,) int8. Compared a block at a time; the order of pictures is nothing."""
    train = train[_changes(train) >= CHANGES]
    found = np.where(_changes(test) >= CHANGES, APART, TOO_PLAIN).astype(np.int8)
    judged = np.flatnonzero(found == APART)
    asked, known = hashes(test[judged]), hashes(train)
    for i, j in product(range(0, len(asked), TILE[0]), range(0, len(known), TILE[1])):
        tile = np.bitwise_count(asked[i : i + TILE[0], None] ^ known[None, j : j + TILE[1]])
        alike = np.flatnonzero(tile <= BITS)
        if len(alike):
            row, column = np.divmod(alike, tile.shape[1])
            which = judged[i + row]
            apart = np.abs(test[which].astype(np.int16) - train[j + column]).mean(axis=(1, 2))
            found[which[apart <= LEVELS]] = NEAR
    return found


def of_pictures(pictures: Pictures) -> Greys:
    """(n, 8, 9) grey levels of an evaluation set's pictures; each is decoded once."""
    greys = np.empty((len(pictures), ROWS, COLUMNS), np.uint8)
    for i in range(len(pictures)):
        greys[i] = grey(pictures.picture(i))
    return greys


def of_split(split: Split) -> Greys:
    """(n, 8, 9) grey levels of training pictures, read a piece at a time."""
    greys = np.empty((len(split), ROWS, COLUMNS), np.uint8)
    for start in range(0, len(split), PIECE):
        index = np.arange(start, min(start + PIECE, len(split)))
        for i, canvas in zip(index, split.pixels(index)):
            greys[i] = grey(Image.fromarray(canvas.transpose(1, 2, 0)))
    return greys


def check(
    cache: Cache,
    place: Mapping[str, Any],
    test: Mapping[str, Any],
    train: Mapping[str, Any],
    of_test: Callable[[], Greys],
    of_train: Callable[[], Greys],
) -> NDArray[np.int8]:
    """`near`, of pictures that are looked at once for all models.

    cache: where grey levels and findings are kept, by the fingerprints `test` and `train`; `place`
    is where the test pictures lie, for `last`. What is missing or damaged is made again.
    """

    def compare() -> NDArray[Any]:
        return near(
            _kept(cache, {"greys": test}, of_test), _kept(cache, {"greys": train}, of_train)
        )

    found = _kept(cache, {"near": test, "in": train}, compare)
    cache.note(_last(place, train), found.tolist())
    return found


def last(
    cache: Cache, place: Mapping[str, Any], train: Mapping[str, Any]
) -> NDArray[np.int8] | None:
    """What `check` last found of the test pictures that lay at `place`; None if it never did."""
    found = cache.noted(_last(place, train))
    return None if found is None else np.array(found, np.int8)


def _kept(cache: Cache, what: Mapping[str, Any], make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    return cache.arrays({**what, "version": VERSION}, lambda: {"kept": make()})["kept"]


def _last(place: Mapping[str, Any], train: Mapping[str, Any]) -> str:
    return identity.digest({"version": VERSION, "at": dict(place), "in": dict(train)})


def _steps(greys: Greys) -> NDArray[np.int16]:
    levels = greys.astype(np.int16)
    return levels[:, :, 1:] - levels[:, :, :-1]


def _changes(greys: Greys) -> NDArray[np.int64]:
    """In how many of 64 places each of (n, 8, 9) pictures changes, (n,)."""
    return np.asarray((np.abs(_steps(greys)) > STEP).sum(axis=(1, 2)))
