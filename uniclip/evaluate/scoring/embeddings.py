"""What one model makes of published data sets: each picture and each prompt embedded once.

Image-encoder features are kept, and the joint space's rows are projected from them: zero-shot
classification, probes and retrieval, and all protocols with one transform, share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uniclip import identity
from uniclip.config.binding import plain
from uniclip.errors import Stopped
from uniclip.evaluate.cache import Cache
from uniclip.evaluate.datasets.images import Pictures
from uniclip.evaluate.protocols.protocol import Transform
from uniclip.evaluate.scoring import zero_shot

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import Pretrained

Float32 = NDArray[np.float32]

VERSION = 1
"""Raised when the same weights make other rows of the same pictures or texts."""


@dataclass(frozen=True)
class Embeddings:
    """A model, and where its rows are kept."""

    pretrained: Pretrained
    cache: Cache
    stop: Callable[[], bool] = lambda: False
    """Asked at each piece of pictures and at each evaluation of a probe's loss: `Stopped` is raised
    where it says so."""

    def seen(self, data: Mapping[str, Any], part: str, transform: Transform) -> dict[str, Any]:
        """All that features of a data set's part depend on, as plain JSON."""
        side = self.pretrained.config.model.image.pixels
        return {
            "weights": self.cache.weights,
            "data": dict(data),
            "part": part,
            "transform": plain(transform),
            "pixels": side,
            "features": "trunk",
            "version": VERSION,
        }

    def trunk(self, data: Mapping[str, Any], pictures: Pictures, transform: Transform) -> Float32:
        """Image-encoder features (n, F) of pictures, whose data set's fingerprint is `data`."""
        side = self.pretrained.config.model.image.pixels

        def embed(index: NDArray[np.int64]) -> Float32:
            if self.stop():
                raise Stopped
            squares = [prepared(pictures.picture(i), transform, side) for i in index.tolist()]
            return self.pretrained.trunk(np.stack(squares))

        what = self.seen(data, pictures.part, transform)
        return self.cache.rows(what, len(pictures), embed)

    def forget(self, data: Mapping[str, Any], pictures: Pictures, transform: Transform) -> None:
        """Remove what of `trunk` was kept on the way only."""
        what = self.seen(data, pictures.part, transform)
        self.cache.forget_chapters(what, len(pictures))

    def texts(self, texts: Sequence[str]) -> Float32:
        """Unit rows (n, D) of texts, embedded shortest first: there is little to pad."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        by_length = [texts[i] for i in order]

        def embed(index: NDArray[np.int64]) -> Float32:
            return self.pretrained.embed_texts([by_length[i] for i in index.tolist()])

        said = self._said(by_length)
        rows = self.cache.rows(said, len(texts), embed)
        self.cache.forget_chapters(said, len(texts))
        return rows[np.argsort(order)]

    def classifier(self, prompts: Sequence[Sequence[str]]) -> Float32:
        """One unit row a class (C, D), from its prompts."""

        def make() -> dict[str, NDArray[Any]]:
            return {"rows": zero_shot.classifier(self.pretrained.embed_texts, prompts)}

        return self.cache.arrays(self._said([list(own) for own in prompts]), make)["rows"]

    def _said(self, texts: Sequence[Any]) -> dict[str, Any]:
        return {
            "weights": self.cache.weights,
            "texts": identity.digest(texts, 32),
            "version": VERSION,
        }


def prepared(picture: Image.Image, transform: Transform, side: int) -> NDArray[np.uint8]:
    """(3, side, side): a picture through a protocol's transform, to the bit as torchvision's Resize
    and CenterCrop make it (which take three times as long over a small picture)."""
    short, long = sorted(picture.size)
    longer = int(side * long / short)
    size = (side, longer) if picture.width <= picture.height else (longer, side)
    resized = picture.resize(size, Image.Resampling[transform.interpolation.upper()])
    left, top = (int(round((length - side) / 2.0)) for length in size)
    square = resized.crop((left, top, left + side, top + side))
    return np.asarray(square, dtype=np.uint8).transpose(2, 0, 1)
