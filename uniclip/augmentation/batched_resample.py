"""Crop and resize of many images of different sizes at once, in integers.

Weights have the bits that libraries give them on a CPU, and sums fit 32 bits: pixels depend neither
on the device nor on the other images. Crops of photographs are torch's antialiased `interpolate` of
8-bit images (triangle filter; the bits depend on the largest weight), their central squares
Pillow's `resize` (bicubic). Crops of square images, which a CPU resizes in floating point, have
rounded weights: single pixels differ by one level.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from uniclip.augmentation.packed_views import (
    EVALUATED_PHOTOGRAPH,
    FIRST_PIXEL,
    HEIGHT,
    KIND,
    PHOTOGRAPH,
    ROW_STRIDE,
    SQUARE,
    WIDTH,
)

MAX_WEIGHT, MAX_TRIANGLE_BITS = 2**15, 22
"""torch: the bits after the point are the most for which each weight is below 2**15, up to 22."""
CUBIC_BITS = 22
"""Pillow's bits after the point."""
SQUARE_BITS, SQUARE_EXTRA_BITS = 14, 8
"""Bits after the point of weights, and of the values between the two passes."""
CUBIC_COEFFICIENT = -0.5
"""Pillow's and torch's, of the antialiased bicubic filter."""


@dataclass(frozen=True)
class _AxisWeights:
    """The weights of one axis of m images, for S output pixels of T taps each."""

    first: Tensor
    """(m, S) int64: first source pixel of each output pixel."""
    weights: Tensor
    """(m, S, T) int32."""
    bits: Tensor
    """(m,) int32: binary digits after the point."""

    def flip(self, is_flipped: Tensor) -> _AxisWeights:
        """Return the same, with the output pixels of some images (m,) mirrored."""
        first = torch.where(is_flipped[:, None], self.first.flip(1), self.first)
        weights = torch.where(is_flipped[:, None, None], self.weights.flip(1), self.weights)
        return _AxisWeights(first, weights, self.bits)


@dataclass(frozen=True)
class CropSizes:
    """What crops that are resized together have in common; from it shapes of tensors follow."""

    kind: int
    """As in `PackedViews.crops`."""
    longest: int
    """Largest height or width, in pixels."""
    num_taps: int
    """Most source pixels of an output pixel along an axis."""


def count_taps(crops: Tensor, spans: Tensor, size: int) -> Tensor:
    """Return the most source pixels of an output pixel along an axis, (m,) int64.

    Args:
        crops: (m, 5) int64, as in `PackedViews`.
        spans: (m, 2, 2) float64.
        size: Side of the output, in pixels.
    """
    radius = (spans[:, :, 1].amax(1) / size).clamp(min=1)
    reach = torch.where(crops[:, KIND] == EVALUATED_PHOTOGRAPH, 2 * radius, radius)
    num_taps = (2 * reach).ceil().long() + 1
    return torch.minimum(num_taps, crops[:, HEIGHT : WIDTH + 1].amax(1))


def resample_crops(
    pixels: Tensor, crops: Tensor, spans: Tensor, is_flipped: Tensor, size: int, sizes: CropSizes
) -> Tensor:
    """Return crops, resized to squares.

    Args:
        pixels: (P, 3) uint8, as in `PackedViews`.
        crops: (m, 5) int64, on the same device.
        spans: (m, 2, 2) float64.
        is_flipped: (m,) bool: mirrored horizontally.
        size: Side of the squares, in pixels.
        sizes: Of these crops.

    Returns:
        (m, 3, size, size) int32 in 0 .. 255.
    """
    source = _gather_crops(pixels, crops, sizes.longest)
    columns = _build_weights(crops[:, WIDTH], spans[:, 1], size, sizes).flip(is_flipped)
    rows = _build_weights(crops[:, HEIGHT], spans[:, 0], size, sizes)
    extra_bits = SQUARE_EXTRA_BITS if sizes.kind == SQUARE else 0
    resized = _sum_taps(source, columns, dim=3)
    resized = _round_off(resized, columns.bits - extra_bits, 255 << extra_bits)
    return _round_off(_sum_taps(resized, rows, dim=2), rows.bits + extra_bits, 255)


def _gather_crops(pixels: Tensor, crops: Tensor, longest: int) -> Tensor:
    """Return crops (m, 3, longest, longest) uint8; beyond its sides a crop repeats its border."""
    position = torch.arange(longest, device=pixels.device)
    row = torch.minimum(position, crops[:, HEIGHT, None] - 1) * crops[:, ROW_STRIDE, None]
    column = torch.minimum(position, crops[:, WIDTH, None] - 1)
    index = crops[:, FIRST_PIXEL, None, None] + row[:, :, None] + column[:, None, :]
    return pixels[index].permute(0, 3, 1, 2)


def _build_weights(length: Tensor, spans: Tensor, size: int, sizes: CropSizes) -> _AxisWeights:
    """Return the weights of an axis of m crops.

    Args:
        length: (m,) int64 pixels of the crops along the axis.
        spans: (m, 2) float64 start and extent of the crop boxes.
        size: Pixels of the output along the axis.
        sizes: Of these crops.
    """
    start, extent, length = spans[:, :1], spans[:, 1:], length[:, None]
    is_cubic = sizes.kind == EVALUATED_PHOTOGRAPH
    step = extent / size
    center = start + step * (torch.arange(size, device=length.device) + 0.5)
    if not is_cubic:  # boxes may reach beyond the image; a cut triangle has these weights, too
        center = torch.minimum(center.clamp(min=0.5), length - 0.5)
    radius = step.clamp(min=1)
    reach = 2 * radius if is_cubic else radius
    first = (center - reach + 0.5).floor().clamp(min=0).long()
    stop = torch.minimum((center + reach + 0.5).floor().long(), length)
    weights, total = [], torch.zeros_like(center)
    for tap in range(sizes.num_taps):
        distance = (first + tap - center + 0.5) * (1 / radius)
        weight = _evaluate_cubic(distance) if is_cubic else (1 - distance.abs()).clamp(min=0)
        weights.append(torch.where(first + tap < stop, weight, 0.0))
        total = total + weights[-1]  # one after another, whatever the number of taps
    stacked = torch.stack(weights, dim=-1) / total[..., None]
    bits = _choose_bits(stacked, sizes.kind)
    scaled = stacked * (2.0**bits)[:, None, None]
    rounded = torch.where(scaled < 0, (scaled - 0.5).ceil(), (scaled + 0.5).floor())
    return _AxisWeights(first, rounded.int(), bits)


def _evaluate_cubic(x: Tensor) -> Tensor:
    a, x = CUBIC_COEFFICIENT, x.abs()
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, inner, torch.where(x < 2, outer, 0.0))


def _choose_bits(weights: Tensor, kind: int) -> Tensor:
    """Return the bits after the point (m,) int32 of weights (m, S, T)."""
    if kind != PHOTOGRAPH:
        bits = CUBIC_BITS if kind == EVALUATED_PHOTOGRAPH else SQUARE_BITS
        return torch.full((len(weights),), bits, dtype=torch.int32, device=weights.device)
    candidates = 2.0 ** torch.arange(1, MAX_TRIANGLE_BITS + 1, device=weights.device)
    products = weights.amax((1, 2))[:, None] * candidates
    return ((0.5 + products).floor() < MAX_WEIGHT).sum(1).int()


def _sum_taps(source: Tensor, axis: _AxisWeights, dim: int) -> Tensor:
    """Return the weighted sums along a dimension of images (m, 3, H, W), int32."""
    m, size, num_taps = axis.weights.shape
    shape, broadcast = list(source.shape), [m, 1, 1, 1]
    shape[dim] = broadcast[dim] = size
    sums = torch.zeros(shape, dtype=torch.int32, device=source.device)
    for tap in range(num_taps):
        index = (axis.first + tap).clamp(max=source.shape[dim] - 1).view(broadcast).expand(shape)
        sums.addcmul_(source.gather(dim, index).int(), axis.weights[..., tap].view(broadcast))
    return sums


def _round_off(sums: Tensor, bits: Tensor, largest: int) -> Tensor:
    """Return sums (m, ...) without their last `bits` (m,), rounded, in 0 .. `largest`."""
    shift = bits[:, None, None, None]
    return ((sums + (1 << (shift - 1))) >> shift).clamp_(0, largest)
