"""Crop and resize: the part of a view that depends on the size of its source image.

Square images of one size are cropped together, by one batched matrix product for rows and one for
columns; their boxes have fractional coordinates. Photographs of any size are cropped one by one in
8-bit integers; their boxes are rounded to whole pixels, as torchvision's are. Both resample with an
antialiased triangle filter ("bilinear").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from uniclip.augmentation.transform import (
    AugmentationParams,
    build_evaluation_params,
)
from uniclip.io import rgb_image

UInt8 = NDArray[np.uint8]
Float64 = NDArray[np.float64]

REDUCED_FROM = 4
"""Shorter side, in sides of the evaluated square, from which a photograph is reduced at once."""
UNCHANGED_BOX = (1.0, 0.0, 0.0, 0.0)
"""`area`, `aspect`, `x` and `y` of the evaluation transform."""


# ---- square images of one size -------------------------------------------------------------------


def crop_squares(pixels: UInt8, params: AugmentationParams, image_size: int) -> UInt8:
    """Return the crops of square images.

    A crop box that reaches beyond the image repeats the border pixels.

    Args:
        pixels: (n, 3, S, S).
        params: Parameters of n images.
        image_size: Side of the crops, in pixels.

    Returns:
        (n, 3, image_size, image_size).
    """
    n, _, source_size, _ = pixels.shape
    if source_size == image_size and _is_whole_image(params).all():
        return pixels  # what the products would give
    row_weights = _build_resize_weights(
        *compute_square_span(params, "vertical"), source_size, image_size
    )
    column_weights = _build_resize_weights(
        *compute_square_span(params, "horizontal"), source_size, image_size
    )
    x = torch.from_numpy(pixels).float().reshape(n, 3 * source_size, source_size)
    x = x.bmm(column_weights.transpose(1, 2)).reshape(n, 3, source_size, image_size)
    x = x.permute(0, 2, 1, 3).reshape(n, source_size, 3 * image_size)
    x = row_weights.bmm(x).add_(0.5).clamp_(0, 255)
    crops = x.to(torch.uint8).reshape(n, image_size, 3, image_size)  # truncates: half rounds up
    return crops.permute(0, 2, 1, 3).contiguous().numpy()


def crop_center(pixels: UInt8) -> UInt8:
    """Return the central squares of images (n, 3, H, W), without a copy."""
    height, width = pixels.shape[2:]
    crop_size = min(height, width)
    top, left = (height - crop_size) // 2, (width - crop_size) // 2
    return pixels[:, :, top : top + crop_size, left : left + crop_size]


def compute_square_span(
    params: AugmentationParams, axis: Literal["vertical", "horizontal"]
) -> tuple[Float64, Float64]:
    """Return start and extent (n,) of crop boxes along an axis, as fractions of a square image."""
    area, aspect_ratio = params.area.astype(np.float64), np.exp(params.aspect.astype(np.float64))
    is_vertical = axis == "vertical"
    extent = np.sqrt(area / aspect_ratio if is_vertical else area * aspect_ratio)
    position = (params.y if is_vertical else params.x).astype(np.float64)
    return 0.5 * (1 - extent + position * np.abs(1 - extent)), extent


def _is_whole_image(params: AugmentationParams) -> NDArray[np.bool_]:
    """Return whether the crop box is the whole image, (n,)."""
    is_whole: NDArray[np.bool_] = (params.area == 1) & (params.aspect == 0)
    return is_whole


def _build_resize_weights(
    start: Float64, extent: Float64, source_size: int, image_size: int
) -> Tensor:
    """Return the resampling weights of one axis, (n, image_size, source_size) float32.

    Args:
        start: (n,) start of the crop box, as a fraction of the source.
        extent: (n,) its length, as a fraction of the source.
        source_size: Pixels of the source image along the axis.
        image_size: Pixels of the view along the axis.
    """
    step = extent * source_size / image_size
    centre = start[:, None] * source_size + step[:, None] * (np.arange(image_size) + 0.5)
    centre = np.clip(centre, 0.5, source_size - 0.5)
    inverse_radius = torch.from_numpy(1 / np.maximum(step, 1.0)).float()[:, None, None]
    distance = torch.from_numpy(centre).float()[:, :, None] - (torch.arange(source_size) + 0.5)
    weights = distance.abs_().mul_(inverse_radius).neg_().add_(1).clamp_(min=0)
    return weights.div_(weights.sum(-1, keepdim=True))


# ---- photographs ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Photograph:
    """A decoded image of any size, which views are made of."""

    pixels: UInt8
    """(H, W, 3), contiguous and writable."""
    square_size: int
    """Side of the square that the evaluation transform makes of it, in pixels."""
    square: UInt8 | None = None
    """(3, square_size, square_size): this square; None = it is made of `pixels` on demand."""

    @property
    def num_bytes(self) -> int:
        """Memory in use."""
        return self.pixels.nbytes + (0 if self.square is None else self.square.nbytes)

    def get_square(self) -> UInt8:
        """Return the square that the evaluation transform makes of it."""
        if self.square is not None:
            return self.square
        return rgb_image.crop_and_resize(Image.fromarray(self.pixels), self.square_size)


def make_photograph(image: Image.Image, square_size: int) -> Photograph:
    """Return an RGB image as views are made of it.

    One whose shorter side is `REDUCED_FROM` squares or more is first reduced by a whole number, by
    means over its pixels, so that two squares remain: it takes less time and memory to crop.

    Args:
        image: RGB.
        square_size: Side of the square that the evaluation transform makes of it, in pixels.
    """
    square, short_side = None, min(image.size)
    if short_side >= REDUCED_FROM * square_size:
        square = rgb_image.crop_and_resize(image, square_size)
        image = image.reduce(short_side // (2 * square_size))
    return Photograph(np.array(image), square_size, square)


def crop_photograph(photograph: Photograph, box_columns: Sequence[float], image_size: int) -> UInt8:
    """Return the crop of a photograph, (3, image_size, image_size).

    A box that changes nothing gives what the evaluation transform does.

    Args:
        photograph: Of any size.
        box_columns: `area` (at most 1), `aspect`, `x` and `y` of `AugmentationParams`.
        image_size: Side of the crop, in pixels.
    """
    area, aspect, x, y = box_columns
    if (area, aspect, x, y) == UNCHANGED_BOX:
        square: UInt8 = crop_squares(
            photograph.get_square()[None], build_evaluation_params(1), image_size
        )[0]
        return square
    height, width, _ = photograph.pixels.shape
    left, top, right, bottom = compute_crop_box(width, height, area, aspect, x, y)
    cropped = torch.from_numpy(photograph.pixels[top:bottom, left:right]).permute(2, 0, 1)[None]
    crop = functional.interpolate(
        cropped, (image_size, image_size), mode="bilinear", antialias=True
    )
    view: UInt8 = crop[0].numpy()
    return view


def compute_crop_box(
    width: int, height: int, area: float, aspect: float, x: float, y: float
) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a crop box in whole pixels of a photograph.

    Area and aspect are relative to the largest square of the photograph, so that every box fits;
    the position is relative to the slack of the box in the whole photograph. So boxes reach its
    sides, and no parameter depends on its shape.

    Args:
        width: Of the photograph, in pixels.
        height: The same.
        area: At most 1.
        aspect: As in `AugmentationParams`.
        x: The same.
        y: The same.
    """
    assert area <= 1, "the box lies within the photograph"
    side, ratio = min(width, height), math.exp(aspect)
    left, right = _round_interval(width, side * math.sqrt(area * ratio), x)
    top, bottom = _round_interval(height, side * math.sqrt(area / ratio), y)
    return left, top, right, bottom


def _round_interval(size: int, extent: float, position: float) -> tuple[int, int]:
    """Return the first pixel of an interval and the one after its last, mirrored where mirrored."""
    start = 0.5 * (1 + position) * (size - extent)
    first, stop = math.floor(start + 0.5), math.ceil(start + extent - 0.5)
    if first >= stop:
        first = math.floor(start + 0.5 * extent)
        stop = first + 1
    return max(first, 0), min(stop, size)
