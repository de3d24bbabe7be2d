"""A trained model for inference: images and texts in, numpy arrays out.

Letters: n images or texts, A columns of an augmentation vector, F features, D embedding dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from uniclip import numerics
from uniclip.augmentation import apply, transform
from uniclip.augmentation.transform import AugmentationParams
from uniclip.checkpoints import model_input
from uniclip.checkpoints.model_input import ImageInput, ModelInputError, TextInput
from uniclip.config import RunConfig
from uniclip.data.text.tokenizer import Tokenizer
from uniclip.errors import UserError
from uniclip.io import rgb_image
from uniclip.methods.base import Method
from uniclip.models.embedder import Embedder

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
        self.precision: Literal["fp32", "bf16"] = "fp32"
        """Precision in which images and texts are embedded."""

    def in_bfloat16(self) -> PretrainedModel:
        """Return the same model, which embeds in bfloat16 (autocast) and returns float32."""
        embedder = cast(Embedder, numerics.Autocast(self.embedder, self.device))
        copy = PretrainedModel(embedder, self.method, self.tokenizer, self.config)
        copy.precision = "bf16"
        return copy

    def embed_images(
        self,
        images: ImageInput,
        augmentation_params: AugmentationParams | None = None,
        vectors: Float32 | None = None,
    ) -> Float32:
        """Return the normalized embeddings (n, D) of images, float32; n = 1 for one image.

        Args:
            images: One image or several: paths, PIL images, or uint8 arrays or tensors of shape
                (3, h, w), (h, w, 3) or (h, w), or (n, 3, h, w) for n images. Files, PIL images and
                arrays of different sizes are resized and centre-cropped to the image size of the
                training data (`uniclip.io.rgb_image`).
            augmentation_params: Parameters of n images; default: the evaluation transform.
            vectors: (n, A) augmentation vectors that the model receives; default: those of
                `augmentation_params`.

        Raises:
            UserError: The numbers of images, parameters and vectors differ, or a file cannot be
                read.
            ModelInputError: An argument is of another type; it is a `TypeError`.
        """
        source_pixels = self._to_pixels(images)
        if augmentation_params is None and vectors is None:
            source_pixels = self._keep_center(source_pixels)
        params, vector_rows_all = _complete_augmentation(
            len(source_pixels), augmentation_params, vectors
        )

        def embed_slice(rows: slice) -> Tensor:
            vector_rows = torch.from_numpy(vector_rows_all[rows])
            pixels = self._render_view(source_pixels[rows], params[rows])
            return self.embedder.encode_image(pixels, vector_rows.to(pixels.device))

        return self._embed_in_batches(
            embed_slice, len(source_pixels), self.config.model.embed_dim, self.image_batch_size
        )

    def embed_texts(self, texts: TextInput) -> Float32:
        """Return the normalized embeddings (n, D) of texts, float32; n = 1 for one text.

        Args:
            texts: One text or several.

        Raises:
            ModelInputError: `texts` is something else; it is a `TypeError`.
        """
        text_list = model_input.list_texts(texts)
        context_length = self.config.model.text.context_length

        def embed_slice(rows: slice) -> Tensor:
            tokens = torch.from_numpy(self.tokenizer.encode(text_list[rows], context_length))
            return self.embedder.encode_text(tokens.to(self.device))

        return self._embed_in_batches(embed_slice, len(text_list), self.config.model.embed_dim)

    def compute_image_features(self, images: ImageInput) -> Float32:
        """Return encoder features (n, F) of images under the evaluation transform, float32.

        Args:
            images: As for `embed_images`.

        Raises:
            UserError: As `embed_images`.
        """
        source_pixels = self._keep_center(self._to_pixels(images))

        def embed_slice(rows: slice) -> Tensor:
            pixels = source_pixels[rows]
            return self.embedder.compute_image_features(
                self._render_view(pixels, transform.build_evaluation_params(len(pixels)))
            )

        num_features = self.embedder.image_encoder.num_features
        return self._embed_in_batches(
            embed_slice, len(source_pixels), num_features, self.image_batch_size
        )

    def project_image(self, features: Float32) -> Float32:
        """Return the normalized embeddings (n, D) of features (n, F), equal to `embed_images`.

        Args:
            features: Result of `compute_image_features`.

        Raises:
            ModelInputError: They are of another type or shape; it is a `TypeError`.
        """
        all_rows = model_input.to_float_rows(
            features, "features", self.embedder.image_encoder.num_features
        )

        def embed_slice(rows: slice) -> Tensor:
            feature_rows = torch.from_numpy(all_rows[rows])
            vector_rows = torch.from_numpy(
                transform.encode_as_vector(transform.build_evaluation_params(len(feature_rows)))
            )
            return self.embedder.project_image(
                feature_rows.to(self.device), vector_rows.to(self.device)
            )

        return self._embed_in_batches(embed_slice, len(all_rows), self.config.model.embed_dim)

    def image_text_scale(self) -> float:
        """Return the scale 1/tau that multiplies image-text cosines to give logits."""
        return self.method.image_text_scale()

    def image_text_bias(self) -> float:
        """Return the number that is added to scaled image-text cosines (SigLIP); 0 without one."""
        return self.method.image_text_bias()

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return next(self.embedder.parameters()).device

    @property
    def image_batch_size(self) -> int:
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
        opened = model_input.read_images(images, self._min_image_side)
        if isinstance(opened, np.ndarray):
            return opened
        size = self._crop_size
        crops = [self._crop(image) for image in opened]
        return np.stack(crops) if crops else np.zeros((0, 3, size, size), np.uint8)

    def _keep_center(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the central part of images (n, 3, h, w) that the evaluation transform keeps."""
        crop_pct = self.config.model.image.crop_pct
        if crop_pct == 1:
            return pixels
        tops = [(side - max(1, round(side * crop_pct))) // 2 for side in pixels.shape[2:]]
        rows, columns = (slice(top, side - top) for top, side in zip(tops, pixels.shape[2:]))
        return np.ascontiguousarray(pixels[:, :, rows, columns])

    @property
    def _crop_size(self) -> int:
        """Side of the crop of an image of any size, in pixels."""
        return self.config.data.image_size

    @property
    def _min_image_side(self) -> int:
        """Side that an image must have at least where it is decoded at a fraction of its size."""
        return 2 * self._crop_size

    def _crop(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the central square of an RGB image as training data are read, (3, S, S)."""
        interpolation = self.config.model.image.interpolation
        return rgb_image.crop_and_resize(image, self._crop_size, interpolation)

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
        is_evaluating = not any(module.training for module in self.embedder.modules())
        if not is_evaluating:  # setting a mode takes as long as embedding a few texts
            self.embedder.eval()
        try:
            starts = range(0, num_items, batch_size)
            chunks = [
                embed_slice(slice(i, min(i + batch_size, num_items))).float().cpu() for i in starts
            ]
        finally:
            if not is_evaluating:
                self.embedder.train(was_training)
        rows: Float32 = torch.cat([torch.zeros(0, output_dim), *chunks]).numpy()
        return rows


def _complete_augmentation(
    num_images: int, augmentation_params: Any, vectors: Any
) -> tuple[AugmentationParams, Float32]:
    """Return the parameters of n images and their vectors (n, A), with defaults for None.

    Raises:
        UserError: They are not as many as the images, or of another type.
    """
    params = augmentation_params
    if params is None:
        params = transform.build_evaluation_params(num_images)
    if not isinstance(params, AugmentationParams):
        raise ModelInputError(
            f"augmentation_params is of type {type(params).__name__}: give AugmentationParams, or "
            "None for the evaluation transform"
        )
    rows = (
        transform.encode_as_vector(params)
        if vectors is None
        else model_input.to_float_rows(vectors, "vectors", transform.VECTOR_DIM)
    )
    if len(params) != num_images or len(rows) != num_images:
        raise UserError(
            f"{num_images} images need {num_images} augmentation parameters and vectors of shape "
            f"({num_images}, {transform.VECTOR_DIM}), got {len(params)} and {rows.shape}"
        )
    return params, rows
