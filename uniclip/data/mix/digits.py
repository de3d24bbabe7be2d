"""scikit-learn's 1,797 handwritten digits, as pictures with a label and prompts for a caption."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from uniclip.data.split import Part, Split, part_of
from uniclip.rng import sample_id

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VALIDATION, TEST = 0.1, 0.3
DARKEST = 16.0
"""The largest value of a pixel in the package's 8 x 8 pictures."""


@dataclass(frozen=True, kw_only=True)
class DigitsSplit(Split):
    """Pictures out of the package's array."""

    rows: NDArray[np.int64]
    """(n,): where in it this split's pictures stand."""
    size: int

    def pixels(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        grey = 255 - _images()[self.rows[index]] * (255 / DARKEST)
        nearest = np.arange(self.size) * grey.shape[1] // self.size
        large = grey[:, nearest][:, :, nearest].round().astype(np.uint8)
        return np.repeat(large[:, None], 3, axis=1)


def open_split(size: int, part: Part, templates: tuple[str, ...]) -> DigitsSplit:
    """One part, dark on white at size x size; captions are the templates with the digit's name."""
    rows = np.array([i for i in range(len(_images())) if _part(i) == part], np.int64)
    labels = _targets()[rows]
    return DigitsSplit(
        ids=np.array([sample_id(f"digits/{i}") for i in rows], np.uint64),
        captions=tuple(tuple(t.format(NAMES[label]) for t in templates) for label in labels),
        labels={"digit": labels},
        classes={"digit": NAMES},
        names=tuple(f"digit {i}" for i in rows),
        rows=rows,
        size=size,
    )


def _part(i: int) -> Part:
    return part_of(f"digits/{i}", validation=VALIDATION, test=TEST)


@lru_cache(maxsize=1)
def _loaded() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images, found.target.astype(np.int64)


def _images() -> NDArray[np.float64]:
    return _loaded()[0]


def _targets() -> NDArray[np.int64]:
    return _loaded()[1]
