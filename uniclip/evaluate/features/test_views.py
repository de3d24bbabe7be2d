"""Augmented views of evaluated images, and the augmentation vectors that a model is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from uniclip import data, rng
from uniclip.augmentation import apply, transform
from uniclip.evaluate.features import split_features
from uniclip.evaluate.protocols.protocol import TEST_VIEWS_VERSION

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.config import DataConfig
    from uniclip.data.split import SplitName

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """One view of every image of a split."""

    pixels: NDArray[np.uint8]
    """(n, 3, image_size, image_size)."""
    vectors: Float32
    """(n, A) augmentation vectors."""


@lru_cache(maxsize=6)
def draw_view(
    data_config: DataConfig,
    kind: Literal["weak", "strong"],
    number: int,
    image_size: int,
    split_name: SplitName = "test",
) -> View:
    """Return a view of a split, the same for every model and never the identity.

    The random key does not depend on a run's seed. image_size: in pixels.
    """
    split = split_features.open_split_cached(data_config, split_name)
    key = rng.derive_key("evaluate", data_config.name, TEST_VIEWS_VERSION, kind, number)
    drawn = data.sample_view(data_config, kind, key, split.ids, identity_prob=0)
    images = split.load_pixels(np.arange(len(split)))
    return View(
        apply.apply_augmentation(images, drawn, image_size), transform.encode_as_vector(drawn)
    )


def embed_under_conditions(
    pretrained: PretrainedModel, data_config: DataConfig, split_name: SplitName = "test"
) -> Iterator[tuple[str, Float32]]:
    """Yield condition and unit rows (n, D) of one strong view of each image of a split.

    Conditions: the model is given the true augmentation vectors, those of the identity, or the
    next sample's (wrong).
    """
    image_size = pretrained.config.model.image.image_size
    strong_view = draw_view(data_config, "strong", 0, image_size, split_name)
    vectors_by_condition = {
        "true": strong_view.vectors,
        "identity": np.zeros_like(strong_view.vectors),
        "wrong": np.roll(strong_view.vectors, -1, axis=0),
    }
    for condition, vectors in vectors_by_condition.items():
        yield condition, pretrained.embed_images(strong_view.pixels, vectors=vectors)
