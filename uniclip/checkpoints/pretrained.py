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

from uniclip.augmentation import apply, transform
from uniclip.augmentation.transform import AugmentationParams
from uniclip.config import RunConfig
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.errors import UserError
from uniclip.methods.base import Method
from uniclip.models.embedder import Embedder

ImageInput = Union[NDArray[np.uint8], Sequence[Image.Image]]
Float32 = NDArray[np.float32]

BATCH_SIZE = 256
"""Pictures or texts embedded at once."""
MAX_CPU_BATCH_PIXELS = 64 * 224**2
"""On a CPU not more pixels at once: what lies between two layers stays near the processor, which
makes ViT-B/32 a tenth faster."""


class PretrainedModel:
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
        images: ImageInput,
        augmentation_params: AugmentationParams | None = None,
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
        source_pixels = self._to_pixels(images)
        augmentation_params = (
            transform.build_evaluation_params(len(source_pixels))
            if augmentation_params is None
            else augmentation_params
        )
        vectors = transform.encode_as_vector(augmentation_params) if vectors is None else vectors
        if len(augmentation_params) != len(source_pixels) or vectors.shape != (
            len(source_pixels),
            transform.VECTOR_DIM,
        ):
            raise UserError(
                f"{len(source_pixels)} pictures need {len(source_pixels)} transforms and vectors of shape "
                f"({len(source_pixels)}, {transform.VECTOR_DIM}), got {len(augmentation_params)} and {vectors.shape}"
            )

        def embed_slice(rows: slice) -> Tensor:
            vector_rows = torch.from_numpy(np.asarray(vectors[rows], dtype=np.float32))
            pixels = self._render_view(source_pixels[rows], augmentation_params[rows])
            return self.embedder.encode_image(pixels, vector_rows.to(pixels.device))

        return self._embed_in_batches(
            embed_slice, len(source_pixels), self.config.model.embed_dim, self._image_batch_size
        )

    def embed_texts(self, texts: Sequence[str]) -> Float32:
        """Unit rows (n, D) of texts."""
        context_length = self.config.model.text.context_length

        def embed_slice(rows: slice) -> Tensor:
            tokens = torch.from_numpy(self.tokenizer.encode(texts[rows], context_length))
            return self.embedder.encode_text(tokens.to(self.device))

        return self._embed_in_batches(embed_slice, len(texts), self.config.model.embed_dim)

    def compute_image_features(self, images: ImageInput) -> Float32:
        """Features (n, F) of the image encoder, of pictures through the evaluation transform."""
        source_pixels = self._to_pixels(images)

        def embed_slice(rows: slice) -> Tensor:
            pixels = source_pixels[rows]
            return self.embedder.compute_image_features(
                self._render_view(pixels, transform.build_evaluation_params(len(pixels)))
            )

        num_features = self.embedder.image_encoder.num_features
        return self._embed_in_batches(
            embed_slice, len(source_pixels), num_features, self._image_batch_size
        )

    def project_image(self, features: Float32) -> Float32:
        """Unit rows (n, D) of features (n, F) that `trunk` gave: as `embed_images` gives them."""

        def embed_slice(rows: slice) -> Tensor:
            vector_rows = torch.from_numpy(
                transform.encode_as_vector(transform.build_evaluation_params(len(features[rows])))
            )
            feature_rows = torch.from_numpy(features[rows])
            return self.embedder.project_image(
                feature_rows.to(self.device), vector_rows.to(self.device)
            )

        return self._embed_in_batches(embed_slice, len(features), self.config.model.embed_dim)

    def image_text_scale(self) -> float:
        """The multiplier 1/tau that turns image-text cosines into logits."""
        return self.method.image_text_scale()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.embedder.parameters()).device

    @property
    def _image_batch_size(self) -> int:
        """How many are embedded at once."""
        on_cpu = self.device.type == "cpu"
        return (
            min(BATCH_SIZE, MAX_CPU_BATCH_PIXELS // self.config.model.image.image_size**2 or 1)
            if on_cpu
            else BATCH_SIZE
        )

    def _render_view(self, pixels: NDArray[np.uint8], params: AugmentationParams) -> Tensor:
        view = apply.apply_augmentation(pixels, params, self.config.model.image.image_size)
        return torch.from_numpy(view).to(self.device)

    def _to_pixels(self, images: ImageInput) -> NDArray[np.uint8]:
        """Pictures as (n, 3, h, w) uint8."""
        if not isinstance(images, np.ndarray):
            image_size = self.config.data.image_size
            center_crops = [_resize_and_center_crop(image, image_size) for image in images]
            return (
                np.stack(center_crops)
                if center_crops
                else np.zeros((0, 3, image_size, image_size), np.uint8)
            )
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.uint8:
            raise UserError(
                "pictures must be uint8 (n, 3, h, w) or PIL images, "
                f"got {images.dtype} {images.shape}"
            )
        return images

    @torch.no_grad()
    def _embed_in_batches(
        self,
        embed_slice: Callable[[slice], Tensor],
        num_items: int,
        output_dim: int,
        batch_size: int = BATCH_SIZE,
    ) -> Float32:
        """`embed` over slices of 0 .. n, in evaluation mode; the mode is as before afterwards."""
        was_training = self.embedder.training
        self.embedder.eval()
        try:
            starts = range(0, num_items, batch_size)
            chunks = [
                embed_slice(slice(i, min(i + batch_size, num_items))).float().cpu() for i in starts
            ]
        finally:
            self.embedder.train(was_training)
        rows: Float32 = torch.cat([torch.zeros(0, output_dim), *chunks]).numpy()
        return rows


def _resize_and_center_crop(image: Image.Image, image_size: int) -> NDArray[np.uint8]:
    """(3, side, side) uint8: on white where transparent, resized and centre-cropped."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    crop_size = min(image.size)
    left, top = (image.width - crop_size) // 2, (image.height - crop_size) // 2
    box = (left, top, left + crop_size, top + crop_size)
    image = image.resize(
        (image_size, image_size), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0
    )
    return np.asarray(image, dtype=np.uint8).transpose(2, 0, 1)
