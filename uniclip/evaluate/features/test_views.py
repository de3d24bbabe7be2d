"""Views of test pictures, and what a model is told was done to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from uniclip import data, rng
from uniclip.augmentation import transform
from uniclip.evaluate.features import split_features
from uniclip.evaluate.protocols.protocol import TEST_VIEWS

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import Pretrained

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """One view of every test picture."""

    pixels: NDArray[np.uint8]
    """(n, 3, side, side)."""
    vectors: Float32
    """(n, A): what was done."""


@lru_cache(maxsize=6)
def view(source: Any, kind: Literal["weak", "strong"], number: int, side: int) -> View:
    """The same for every model: drawn by a key that knows no seed of a run; never the evaluation's.

    source: a data section whose test part is looked at. side: in pixels.
    """
    test = split_features.opened(source, "test")
    key = rng.key("evaluate", source.name, TEST_VIEWS, kind, number)
    drawn = data.views(source, kind, key, test.ids, identity=0)
    canvas = test.pixels(np.arange(len(test)))
    return View(transform.apply(canvas, drawn, side), transform.describe(drawn))


def told(pretrained: Pretrained, source: Any) -> Iterator[tuple[str, Float32]]:
    """Unit rows (n, D) of one strong view of each test picture, told the true vectors, "nothing
    done" (identity), and the next sample's (wrong)."""
    seen = view(source, "strong", 0, pretrained.config.model.image.pixels)
    kinds = {
        "true": seen.vectors,
        "identity": np.zeros_like(seen.vectors),
        "wrong": np.roll(seen.vectors, -1, axis=0),
    }
    for kind, vectors in kinds.items():
        yield kind, pretrained.embed_images(seen.pixels, vectors=vectors)
