"""Views of test pictures, and what a model is told was done to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from uniclip import data, rng
from uniclip.augmentation import apply, transform
from uniclip.evaluate.features import split_features
from uniclip.evaluate.protocols.protocol import TEST_VIEWS_VERSION

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """One view of every test picture."""

    pixels: NDArray[np.uint8]
    """(n, 3, side, side)."""
    vectors: Float32
    """(n, A): what was done."""


@lru_cache(maxsize=6)
def draw_view(
    source: Any,
    kind: Literal["weak", "strong"],
    number: int,
    image_size: int,
) -> View:
    """The same for every model: drawn by a key that knows no seed of a run; never the evaluation's.

    source: a data section whose test part is looked at. side: in pixels.
    """
    test = split_features.open_split_cached(source, "test")
    key = rng.derive_key("evaluate", source.name, TEST_VIEWS_VERSION, kind, number)
    drawn = data.sample_view(source, kind, key, test.ids, identity_prob=0)
    images = test.load_pixels(np.arange(len(test)))
    return View(
        apply.apply_augmentation(images, drawn, image_size), transform.encode_as_vector(drawn)
    )


def embed_under_conditions(
    pretrained: PretrainedModel, source: Any
) -> Iterator[tuple[str, Float32]]:
    """Unit rows (n, D) of one strong view of each test picture, told the true vectors, "nothing
    done" (identity), and the next sample's (wrong)."""
    strong_view = draw_view(source, "strong", 0, pretrained.config.model.image.image_size)
    vectors_by_condition = {
        "true": strong_view.vectors,
        "identity": np.zeros_like(strong_view.vectors),
        "wrong": np.roll(strong_view.vectors, -1, axis=0),
    }
    for condition, vectors in vectors_by_condition.items():
        yield condition, pretrained.embed_images(strong_view.pixels, vectors=vectors)
