"""The views of labelled images on which a model is fine-tuned, as one long sequence."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.augmentation import apply, transform
from uniclip.augmentation.resample import make_photograph
from uniclip.augmentation.transform import AugmentationParams
from uniclip.evaluate.datasets.images import ImageDataset

PURPOSE = "fine-tuning"
"""Purpose of the random numbers."""


@dataclass(frozen=True)
class TrainingViews:
    """A weak view of each training image an epoch, in an order drawn for that epoch.

    Which image and which view stand at a position depends on the data set and the ids of its images
    alone: every model, and every learning rate, is trained on the same sequence.
    """

    images: ImageDataset
    """n training images."""
    dataset_name: str
    """Name of the data set, on which the draws depend."""
    image_size: int
    """Side of the views, in pixels."""

    def find_images(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the image at each of `positions` (m,) int64 of the sequence, (m,) int64."""
        epochs, places = np.divmod(positions, len(self.images))
        index = np.empty(len(positions), np.int64)
        for epoch in np.unique(epochs).tolist():
            is_epoch = epochs == epoch
            order = _draw_order(self.dataset_name, epoch, len(self.images))
            index[is_epoch] = order[places[is_epoch]]
        return index

    def draw_params(self, positions: NDArray[np.int64]) -> AugmentationParams:
        """Return the augmentation parameters of the views at `positions` (m,) int64."""
        epochs, index = positions // len(self.images), self.find_images(positions)
        names = [f"{epoch}/{self.images.ids[i]}" for epoch, i in zip(epochs.tolist(), index)]
        ids = np.array([rng.hash_sample_id(name) for name in names], np.uint64)
        return transform.sample_weak(rng.derive_key(PURPOSE, self.dataset_name, "views"), ids)

    def load(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the views at `positions` (m,) int64, shape (m, 3, S, S)."""
        images = [self.images.load_image(i) for i in self.find_images(positions).tolist()]
        photographs = [make_photograph(image, self.image_size) for image in images]
        return apply.apply_augmentation(photographs, self.draw_params(positions), self.image_size)


@lru_cache(maxsize=2)
def _draw_order(dataset_name: str, epoch: int, n: int) -> rng.RandomOrder:
    return rng.RandomOrder(rng.derive_key(PURPOSE, dataset_name, "order", epoch), n)


def select_validation(dataset_name: str, n: int, max_images: int) -> NDArray[np.int64]:
    """Return which of n validation images are used, ascending: all, or a random subset."""
    if n <= max_images:
        return np.arange(n)
    key = rng.derive_key(PURPOSE, dataset_name, "validation")
    return np.sort(rng.permutation(key, n)[:max_images])
