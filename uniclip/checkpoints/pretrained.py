"""A trained model for inference: images and texts in, numpy arrays out.

Letters: n images or texts, A columns of an augmentation vector, F features, D embedding dimension.
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
from uniclip.io import rgb_image
from uniclip.methods.base import Method
from uniclip.models.embedder import Embedder

ImageInput = Union[NDArray[np.uint8], Sequence[Image.Image]]
Float32 = NDArray[np.float32]

BATCH_SIZE = 256
"""Images or texts in one forward pass."""
MAX_CPU_BATCH_PIXELS = 64 * 224**2
"""Most pixels in one forward pass on a CPU: activations stay in its cache, which makes ViT-B/32
a tenth faster."""


class PretrainedModel:
    """An embedder with its tokenizer and the scale of its method, for inference."""

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
        """Return the normalized embeddings (n, D) of images, float32.

        Args:
            images: (n, 3, h, w) uint8, or PIL images, each resized and centre-cropped to the image
                size of the training data (`uniclip.io.rgb_image`).
            augmentation_params: Parameters of n images; default: the evaluation transform.
            vectors: (n, A) augmentation vectors that the model receives; default: those of
                `augmentation_params`.

        Raises:
            UserError: The numbers of images, parameters and vectors differ.
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
                f"{len(source_pixels)} images need {len(source_pixels)} augmentation parameters "
                f"and vectors of shape ({len(source_pixels)}, {transform.VECTOR_DIM}), got "
                f"{len(augmentation_params)} and {vectors.shape}"
            )

        def embed_slice(rows: slice) -> Tensor:
            vector_rows = torch.from_numpy(np.asarray(vectors[rows], dtype=np.float32))
            pixels = self._render_view(source_pixels[rows], augmentation_params[rows])
            return self.embedder.encode_image(pixels, vector_rows.to(pixels.device))

        return self._embed_in_batches(
            embed_slice, len(source_pixels), self.config.model.embed_dim, self._image_batch_size
        )

    def embed_texts(self, texts: Sequence[str]) -> Float32:
        """Return the normalized embeddings (n, D) of texts, float32."""
        context_length = self.config.model.text.context_length

        def embed_slice(rows: slice) -> Tensor:
            tokens = torch.from_numpy(self.tokenizer.encode(texts[rows], context_length))
            return self.embedder.encode_text(tokens.to(self.device))

        return self._embed_in_batches(embed_slice, len(texts), self.config.model.embed_dim)

    def compute_image_features(self, images: ImageInput) -> Float32:
        """Return encoder features (n, F) of images under the evaluation transform, float32."""
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
        """Return the normalized embeddings (n, D) of features (n, F), equal to `embed_images`.

        Args:
            features: Result of `compute_image_features`.
        """

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
        """Return the scale 1/tau that multiplies image-text cosines to give logits."""
        return self.method.image_text_scale()

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.embedder.parameters()).device

    @property
    def _image_batch_size(self) -> int:
        """Number of images in one forward pass."""
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
        """Return images as (n, 3, h, w) uint8."""
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
                "images must be uint8 (n, 3, h, w) or PIL images, "
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
        """Apply `embed_slice` to slices of 0 .. num_items in evaluation mode; restores the mode."""
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
    """Return the central square as training data are read, (3, size, size) uint8."""
    try:
        return rgb_image.crop_and_resize(rgb_image.to_rgb_image(image), image_size)
    except rgb_image.UnreadableImageError as error:
        name = getattr(image, "filename", "") or "an image"
        raise UserError(f"{name} cannot be read ({error}); repair it or leave it out") from None
