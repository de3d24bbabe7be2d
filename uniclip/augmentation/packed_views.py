"""What the views of a batch are made of on a device: regions of images, and parameters as integers.

A data worker decodes images and packs them; `uniclip.augmentation.batched_views` makes the views.
Of a photograph only the smallest region is packed that holds the crop boxes of all of its views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from uniclip.augmentation import blur, color
from uniclip.augmentation.apply import Images, use_single_thread
from uniclip.augmentation.resample import (
    UNCHANGED_BOX,
    Photograph,
    compute_crop_box,
    compute_square_span,
    crop_center,
    crop_photograph,
)
from uniclip.augmentation.transform import AugmentationParams

UInt8 = NDArray[np.uint8]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]

PHOTOGRAPH, EVALUATED_PHOTOGRAPH, SQUARE = range(3)
"""Kinds of crops: of a photograph; its central square, for the evaluation transform; of a square
image, by a box with fractional coordinates (of one that has been made, all of it)."""
FIRST_PIXEL, ROW_STRIDE, HEIGHT, WIDTH, KIND = range(5)
"""Columns of `PackedViews.crops`."""
COLOR_COLUMNS = (
    *("flip", "brightness", "brightness_bits", "contrast", "contrast_bits"),
    *("saturation", "saturation_bits", "hue_sixths", "hue", "grey"),
)
"""Columns of `PackedViews.colors`."""
NO_BLUR = np.ones(1, np.int64)
"""The kernel that changes nothing."""


@dataclass(frozen=True, kw_only=True)
class PackedViews:
    """V views of each of N images, not yet made. All fields but `pixels` stay on the CPU."""

    pixels: Tensor
    """(P, 3) uint8: the regions, row by row, one after another."""
    crops: Tensor
    """(V, N, 5) int64: place of the first pixel of a crop among `pixels`, pixels from one of its
    rows to the next, its height and width in pixels, and its kind."""
    spans: Tensor
    """(V, N, 2, 2) float64: start and extent of the crop box in pixels of the crop, vertically and
    horizontally."""
    colors: Tensor
    """(V, N, 10) int32: what `COLOR_COLUMNS` name; factors as in `color.FixedPoint`."""
    kernels: Tensor
    """(V, N, K) int32: weights of the blur at the distances 0 .. K - 1."""
    image_size: int
    """Side of the views, in pixels."""

    def to(self, device: torch.device) -> PackedViews:
        """Return the same with `pixels` on `device`."""
        return replace(self, pixels=self.pixels.to(device, non_blocking=True))

    def pin_memory(self) -> PackedViews:
        """Return the same in page-locked memory."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        pinned = {n: v.pin_memory() for n, v in values.items() if isinstance(v, Tensor)}
        return PackedViews(**values | pinned)

    def select_rows(self, rows: slice) -> PackedViews:
        """Return the views of some images; `pixels` are shared."""
        return replace(
            self,
            crops=self.crops[:, rows],
            spans=self.spans[:, rows],
            colors=self.colors[:, rows],
            kernels=self.kernels[:, rows],
        )


def concatenate(parts: Sequence[PackedViews]) -> PackedViews:
    """Return the views of the images of all parts, in order."""
    num_weights = max(part.kernels.shape[-1] for part in parts)
    crops, num_pixels = [], 0
    for part in parts:
        crops.append(part.crops.clone())
        crops[-1][..., FIRST_PIXEL] += num_pixels
        num_pixels += len(part.pixels)
    kernels = [
        functional.pad(part.kernels, (0, num_weights - part.kernels.shape[-1])) for part in parts
    ]
    return replace(
        parts[0],
        pixels=torch.cat([part.pixels for part in parts]),
        crops=torch.cat(crops, dim=1),
        spans=torch.cat([part.spans for part in parts], dim=1),
        colors=torch.cat([part.colors for part in parts], dim=1),
        kernels=torch.cat(kernels, dim=1),
    )


def pack_views(
    images: Images, params_by_view: Sequence[AugmentationParams], image_size: int
) -> PackedViews:
    """Return what the views of images under augmentation parameters are made of.

    Args:
        images: Images of one size (n, 3, H, W), or n photographs.
        params_by_view: Parameters of n images, for each view.
        image_size: Side of the views, in pixels.
    """
    if isinstance(images, np.ndarray):
        pixels, crops, spans = _pack_squares(images, params_by_view)
    else:
        with use_single_thread():
            pixels, crops, spans = _pack_photographs(images, params_by_view, image_size)
    colors = np.stack([_encode_colors(params) for params in params_by_view])
    kernels = _build_kernels(np.stack([params.sigma for params in params_by_view]), image_size)
    return PackedViews(
        pixels=torch.from_numpy(pixels),
        crops=torch.from_numpy(crops),
        spans=torch.from_numpy(spans),
        colors=torch.from_numpy(colors),
        kernels=torch.from_numpy(kernels),
        image_size=image_size,
    )


def _pack_squares(
    images: UInt8, params_by_view: Sequence[AugmentationParams]
) -> tuple[UInt8, Int64, Float64]:
    squares = crop_center(images)
    n, _, size, _ = squares.shape
    pixels = np.ascontiguousarray(squares.transpose(0, 2, 3, 1)).reshape(-1, 3)
    crops = np.empty((len(params_by_view), n, 5), np.int64)
    crops[..., FIRST_PIXEL] = np.arange(n) * size**2
    crops[..., ROW_STRIDE : WIDTH + 1] = size
    crops[..., KIND] = SQUARE
    spans = np.stack([_compute_square_spans(params) for params in params_by_view])
    return pixels, crops, spans * size


def _compute_square_spans(params: AugmentationParams) -> Float64:
    """Return starts and extents (n, 2, 2) as fractions of the square, vertical ones first."""
    return np.stack(
        [
            np.stack(compute_square_span(params, axis), axis=1)
            for axis in ("vertical", "horizontal")
        ],
        axis=1,
    )


def _pack_photographs(
    photographs: Sequence[Photograph],
    params_by_view: Sequence[AugmentationParams],
    image_size: int,
) -> tuple[UInt8, Int64, Float64]:
    crops = np.empty((len(params_by_view), len(photographs), 5), np.int64)
    columns_by_view = [
        list(zip(*(getattr(params, name).tolist() for name in ("area", "aspect", "x", "y"))))
        for params in params_by_view
    ]
    regions: list[UInt8] = []
    num_pixels = 0
    for row, photograph in enumerate(photographs):
        columns = [view_columns[row] for view_columns in columns_by_view]
        for region, region_crops in _list_regions(photograph, columns, image_size):
            for view, top, left, height, width, kind in region_crops:
                stride = region.shape[1]
                first = num_pixels + top * stride + left
                crops[view, row] = first, stride, height, width, kind
            regions.append(region)
            num_pixels += region.shape[0] * region.shape[1]
    pixels = np.empty((num_pixels, 3), np.uint8)
    stop = 0
    for region in regions:
        height, width, _ = region.shape
        start, stop = stop, stop + height * width
        pixels[start:stop].reshape(height, width, 3)[:] = region
    spans = np.zeros((*crops.shape[:2], 2, 2))
    spans[..., 1] = crops[..., HEIGHT : WIDTH + 1]
    return pixels, crops, spans


def _list_regions(
    photograph: Photograph, columns: Sequence[tuple[float, ...]], image_size: int
) -> list[tuple[UInt8, list[tuple[int, ...]]]]:
    """Return regions (h, w, 3) of a photograph, each with the crops that it holds.

    The evaluated square is made here, as on a CPU, if the views have another size, or if it was
    made already.

    Args:
        photograph: A photograph.
        columns: `area`, `aspect`, `x` and `y` of each view.
        image_size: Side of the views, in pixels.

    Returns:
        Regions with view, top, left, height, width and kind of each crop.
    """
    height, width, _ = photograph.pixels.shape
    boxes: list[tuple[int, ...]] = []
    squares: list[tuple[int, ...]] = []
    for view, (area, aspect, x, y) in enumerate(columns):
        if (area, aspect, x, y) != UNCHANGED_BOX:
            left, top, right, bottom = compute_crop_box(width, height, area, aspect, x, y)
            boxes.append((view, top, left, bottom - top, right - left, PHOTOGRAPH))
        elif photograph.square is None and photograph.square_size == image_size:
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            boxes.append((view, top, left, side, side, EVALUATED_PHOTOGRAPH))
        else:
            squares.append((view, 0, 0, image_size, image_size, SQUARE))
    regions: list[tuple[UInt8, list[tuple[int, ...]]]] = []
    if boxes:
        top, left = (min(box[i] for box in boxes) for i in (1, 2))
        bottom, right = (max(box[i] + box[i + 2] for box in boxes) for i in (1, 2))
        shifted_boxes = [(box[0], box[1] - top, box[2] - left, *box[3:]) for box in boxes]
        regions.append((photograph.pixels[top:bottom, left:right], shifted_boxes))
    if squares:
        square = crop_photograph(photograph, UNCHANGED_BOX, image_size)
        regions.append((square.transpose(1, 2, 0), squares))
    return regions


def _encode_colors(params: AugmentationParams) -> Int32:
    """Return the columns `COLOR_COLUMNS`, (n, 10)."""
    columns: list[NDArray[Any]] = [params.flip > 0]
    for name in ("brightness", "contrast", "saturation"):
        factors = color.FixedPoint(np.exp(getattr(params, name).astype(np.float64)) - 1)
        columns += [factors.numerators, factors.bits]
    columns += [*color.split_turns(params.hue.astype(np.float64)), params.grey > 0]
    return np.stack(columns, axis=1).astype(np.int32)


def _build_kernels(sigmas: NDArray[np.float32], image_size: int) -> Int32:
    """Return the kernels (V, n, K) of standard deviations (V, n), fractions of the view's side."""
    kernels = [
        blur.build_kernel(sigma * image_size, image_size) if sigma > 0 else NO_BLUR
        for sigma in sigmas.ravel().tolist()
    ]
    padded = np.zeros((len(kernels), max(map(len, kernels), default=1)), np.int32)
    for row, kernel in zip(padded, kernels):
        row[: len(kernel)] = kernel
    return padded.reshape(*sigmas.shape, -1)
