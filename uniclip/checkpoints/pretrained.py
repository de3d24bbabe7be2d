"""A trained model as its users see it: pictures and texts in, numpy arrays out.

Letters: n pictures or texts, A numbers of an augmentation vector, F features, D width of the joint
space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Union

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from uniclip.augmentation import transform as augment
from uniclip.augmentation.transform import Transform
from uniclip.config import RunConfig
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.errors import UserError
from uniclip.methods.base import Method
from uniclip.models.embedder import Embedder

Pictures = Union[NDArray[np.uint8], Sequence[Image.Image]]
Float32 = NDArray[np.float32]

BATCH = 256
"""Pictures or texts embedded at once."""
CACHED = 64 * 224**2
"""On a CPU not more pixels at once: what lies between two layers stays near the processor, which
makes ViT-B/32 a tenth faster."""


class Pretrained:
    """An embedder with its tokenizer and its method's scale, for use, not for training."""

    def __init__(
        self, embedder: Embedder, method: Method, tokenizer: Tokenizer, config: RunConfig
    ) -> None:
        self.embedder = embedder
        self.method = method
        self.tokenizer = tokenizer
        self.config = config

    def embed_images(
        self,
        pictures: Pictures,
        transform: Transform | None = None,
        vectors: Float32 | None = None,
    ) -> Float32:
        """Unit rows (n, D) of pictures, each seen through a transform.

        Args:
            pictures: (n, 3, h, w) uint8, or PIL images (each resized and centre-cropped to the
                training data's canvas).
            transform: n transforms; default: the evaluation's.
            vectors: (n, A), what the model is told was done; default: the truth about `transform`.

        Raises:
            UserError: if pictures, transform and vectors do not fit each other.
        """
        canvas = self._canvas(pictures)
        transform = augment.evaluation(len(canvas)) if transform is None else transform
        vectors = augment.describe(transform) if vectors is None else vectors
        if len(transform) != len(canvas) or vectors.shape != (len(canvas), augment.WIDTH):
            raise UserError(
                f"{len(canvas)} pictures need {len(canvas)} transforms and vectors of shape "
                f"({len(canvas)}, {augment.WIDTH}), got {len(transform)} and {vectors.shape}"
            )

        def embed(part: slice) -> Tensor:
            told = torch.from_numpy(np.asarray(vectors[part], dtype=np.float32))
            pixels = self._view(canvas[part], transform[part])
            return self.embedder.images(pixels, told.to(pixels.device))

        return self._batched(embed, len(canvas), self.config.model.embedding, self._pictures)

    def embed_texts(self, texts: Sequence[str]) -> Float32:
        """Unit rows (n, D) of texts."""
        context = self.config.model.text.context

        def embed(part: slice) -> Tensor:
            tokens = torch.from_numpy(self.tokenizer.encode(texts[part], context))
            return self.embedder.texts(tokens.to(self.device))

        return self._batched(embed, len(texts), self.config.model.embedding)

    def trunk(self, pictures: Pictures) -> Float32:
        """Features (n, F) of the image encoder, of pictures through the evaluation transform."""
        canvas = self._canvas(pictures)

        def embed(part: slice) -> Tensor:
            few = canvas[part]
            return self.embedder.trunk(self._view(few, augment.evaluation(len(few))))

        width = self.embedder.image_encoder.features
        return self._batched(embed, len(canvas), width, self._pictures)

    def project(self, features: Float32) -> Float32:
        """Unit rows (n, D) of features (n, F) that `trunk` gave: as `embed_images` gives them."""

        def embed(part: slice) -> Tensor:
            told = torch.from_numpy(augment.describe(augment.evaluation(len(features[part]))))
            few = torch.from_numpy(features[part])
            return self.embedder.project(few.to(self.device), told.to(self.device))

        return self._batched(embed, len(features), self.config.model.embedding)

    def image_text_scale(self) -> float:
        """The multiplier 1/tau that turns image-text cosines into logits."""
        return self.method.image_text_scale()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.embedder.parameters()).device

    @property
    def _pictures(self) -> int:
        """How many are embedded at once."""
        on_cpu = self.device.type == "cpu"
        return min(BATCH, CACHED // self.config.model.image.pixels**2 or 1) if on_cpu else BATCH

    def _view(self, pixels: NDArray[np.uint8], transform: Transform) -> Tensor:
        view = augment.apply(pixels, transform, self.config.model.image.pixels)
        return torch.from_numpy(view).to(self.device)

    def _canvas(self, pictures: Pictures) -> NDArray[np.uint8]:
        """Pictures as (n, 3, h, w) uint8."""
        if not isinstance(pictures, np.ndarray):
            side = self.config.data.size
            squares = [_square(picture, side) for picture in pictures]
            return np.stack(squares) if squares else np.zeros((0, 3, side, side), np.uint8)
        if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.dtype != np.uint8:
            raise UserError(
                "pictures must be uint8 (n, 3, h, w) or PIL images, "
                f"got {pictures.dtype} {pictures.shape}"
            )
        return pictures

    @torch.no_grad()
    def _batched(
        self, embed: Callable[[slice], Tensor], n: int, width: int, batch: int = BATCH
    ) -> Float32:
        """`embed` over slices of 0 .. n, in evaluation mode; the mode is as before afterwards."""
        training = self.embedder.training
        self.embedder.eval()
        try:
            starts = range(0, n, batch)
            parts = [embed(slice(i, min(i + batch, n))).float().cpu() for i in starts]
        finally:
            self.embedder.train(training)
        rows: Float32 = torch.cat([torch.zeros(0, width), *parts]).numpy()
        return rows


def _square(picture: Image.Image, side: int) -> NDArray[np.uint8]:
    """(3, side, side) uint8: on white where transparent, resized and centre-cropped."""
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert("RGB")
    shorter = min(picture.size)
    left, top = (picture.width - shorter) // 2, (picture.height - shorter) // 2
    box = (left, top, left + shorter, top + shorter)
    picture = picture.resize((side, side), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)
    return np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1)
