"""scikit-learn's 1,797 handwritten digits, as images with a label and prompts as captions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from uniclip.data.split import Split, SplitName, assign_split
from uniclip.rng import hash_sample_id

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VALIDATION_FRACTION, TEST_FRACTION = 0.1, 0.3
MAX_PIXEL_VALUE = 16.0
"""Largest pixel value of the 8 x 8 images."""


@dataclass(frozen=True, kw_only=True)
class DigitsSplit(Split):
    """Images from the package's array."""

    rows: NDArray[np.int64]
    """(n,): rows of this split in the array."""
    image_size: int

    def load_pixels(self, index: NDArray[np.int64]) -> NDArray[np.uint8]:
        grayscale = 255 - _get_images()[self.rows[index]] * (255 / MAX_PIXEL_VALUE)
        source_index = np.arange(self.image_size) * grayscale.shape[1] // self.image_size
        resized_images = grayscale[:, source_index][:, :, source_index].round().astype(np.uint8)
        return np.repeat(resized_images[:, None], 3, axis=1)


def open_split(image_size: int, split_name: SplitName, templates: tuple[str, ...]) -> DigitsSplit:
    """Return one split, dark on white; the captions are the templates with the digit's name."""
    rows = np.array(
        [i for i in range(len(_get_images())) if _assign_digit_split(i) == split_name], np.int64
    )
    labels = _get_labels()[rows]
    return DigitsSplit(
        ids=np.array([hash_sample_id(f"digits/{i}") for i in rows], np.uint64),
        captions=tuple(
            tuple(template.format(DIGIT_NAMES[label]) for template in templates) for label in labels
        ),
        labels={"digit": labels},
        class_names={"digit": DIGIT_NAMES},
        sample_names=tuple(f"digit {i}" for i in rows),
        rows=rows,
        image_size=image_size,
    )


def _assign_digit_split(i: int) -> SplitName:
    return assign_split(
        f"digits/{i}", validation_fraction=VALIDATION_FRACTION, test_fraction=TEST_FRACTION
    )


@lru_cache(maxsize=1)
def _load_dataset() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    dataset = load_digits()
    return dataset.images, dataset.target.astype(np.int64)


def _get_images() -> NDArray[np.float64]:
    return _load_dataset()[0]


def _get_labels() -> NDArray[np.int64]:
    return _load_dataset()[1]
