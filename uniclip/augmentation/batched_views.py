"""The views of a batch, made together on a device from what data workers have packed.

The operations of `apply`, in 32-bit integers and with the same rounding: pixels depend neither on
the device nor on the other views of the batch. Those of photographs are equal to those of `apply`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from uniclip.augmentation import color
from uniclip.augmentation.batched_resample import CropSizes, count_taps, resample_crops
from uniclip.augmentation.packed_views import (
    COLOR_COLUMNS,
    HEIGHT,
    KIND,
    WIDTH,
    PackedViews,
)

CHUNK_PIXELS = 2**22
"""Pixels of padded crops, or of views, that are computed at once: bounds the memory."""
UNCHANGED_COLORS = torch.tensor(
    [color.FRACTION_BITS * name.endswith("_bits") for name in COLOR_COLUMNS], dtype=torch.int32
)
"""(10,): the columns `COLOR_COLUMNS` of a view whose colors do not change."""


def make_views(packed: PackedViews) -> Tensor:
    """Return the views (V, N, 3, S, S) uint8, on the device of `packed.pixels`."""
    with torch.no_grad():
        num_views, n = packed.crops.shape[:2]
        tables = _Tables(packed)
        size = packed.image_size
        views = torch.empty(
            (num_views * n, 3, size, size), dtype=torch.uint8, device=packed.pixels.device
        )
        for rows in tables.chunks:
            chunk = _make_chunk(packed.pixels, tables, rows, size)
            views.index_copy_(0, tables.order[rows], chunk.to(torch.uint8))
        return views.view(num_views, n, 3, size, size)


class _Tables:
    """The tables of `PackedViews`, (V N, ...): views of like operations and sizes together."""

    def __init__(self, packed: PackedViews) -> None:
        crops, spans = packed.crops.flatten(0, 1), packed.spans.flatten(0, 1)
        colors, kernels = packed.colors.flatten(0, 1), packed.kernels.flatten(0, 1)
        has_color = colors[:, 1:].ne(UNCHANGED_COLORS[1:]).any(1)
        num_weights = (kernels > 0).sum(1)
        group = (crops[:, KIND] * 2 + has_color) * 2 + (num_weights > 1)
        longest = crops[:, HEIGHT : WIDTH + 1].amax(1)
        order = torch.argsort(longest, stable=True)
        order = order[torch.argsort(group[order], stable=True)]
        self.kind, self.group = crops[order, KIND].tolist(), group[order].tolist()
        self.longest = longest[order].tolist()
        self.num_taps = count_taps(crops, spans, packed.image_size)[order].tolist()
        self.has_color = has_color[order].tolist()
        self.num_weights = num_weights[order].tolist()
        self.chunks = self._divide(packed.image_size)
        self.order, self.crops, self.spans, self.colors, self.kernels = (
            table.to(packed.pixels.device, non_blocking=True)
            for table in (order, crops[order], spans[order], colors[order], kernels[order])
        )

    def _divide(self, image_size: int) -> list[slice]:
        """Return the chunks of rows that are computed at once."""
        starts: list[int] = []
        for row, (group, longest) in enumerate(zip(self.group, self.longest)):
            chunk_pixels = (row + 1 - starts[-1]) * max(longest, image_size) ** 2 if starts else 0
            if not row or group != self.group[starts[-1]] or chunk_pixels > CHUNK_PIXELS:
                starts.append(row)
        return [slice(*pair) for pair in zip(starts, [*starts[1:], len(self.group)])]

    def get_sizes(self, rows: slice) -> CropSizes:
        """Return the sizes of the crops of a chunk."""
        return CropSizes(
            self.kind[rows.start], self.longest[rows.stop - 1], max(self.num_taps[rows])
        )


def _make_chunk(pixels: Tensor, tables: _Tables, rows: slice, size: int) -> Tensor:
    """Return the views of a chunk, (m, 3, S, S) int32."""
    colors = dict(zip(COLOR_COLUMNS, tables.colors[rows].unbind(1)))
    crops, spans, is_flipped = tables.crops[rows], tables.spans[rows], colors["flip"] > 0
    views = resample_crops(pixels, crops, spans, is_flipped, size, tables.get_sizes(rows))
    if tables.has_color[rows.start]:
        change_colors(views.flatten(2), colors)
    num_weights = max(tables.num_weights[rows])
    return blur(views, tables.kernels[rows, :num_weights]) if num_weights > 1 else views


# ---- colors --------------------------------------------------------------------------------------


def change_colors(planes: Tensor, colors: dict[str, Tensor]) -> None:
    """Apply brightness, contrast, saturation, hue, then greyscale, in place, as `color` does.

    Args:
        planes: (m, 3, P) int32 in 0 .. 255.
        colors: (m,) int32 of each name in `COLOR_COLUMNS`.
    """
    _add_product(planes, planes, colors, "brightness")
    mean_luma = _compute_luma(planes).sum(-1, dtype=torch.int64).double() / planes.shape[-1]
    _add_product(planes, planes, colors, "contrast", -mean_luma)
    _add_product(planes, planes - _compute_luma(planes)[:, None], colors, "saturation")
    _rotate_hue(planes, colors["hue_sixths"], colors["hue"])
    is_grey = (colors["grey"] > 0)[:, None, None]
    planes.copy_(torch.where(is_grey, _compute_luma(planes)[:, None], planes))


def _add_product(
    planes: Tensor,
    values: Tensor,
    colors: dict[str, Tensor],
    name: str,
    shift: Tensor | float = 0.0,
) -> None:
    """Add the product of a factor with `values + shift`, rounded, in place; shift: (m,)."""
    numerators, bits = colors[name], colors[f"{name}_bits"]
    offset = (numerators.double() * shift + 2.0**bits / 2).round().int()
    product = values * numerators[:, None, None] + offset[:, None, None]
    planes.add_(product >> bits[:, None, None]).clamp_(0, 255)


def _compute_luma(planes: Tensor) -> Tensor:
    """Return the luma (m, P), rounded."""
    red, green, blue = color.LUMA_WEIGHTS
    return (red * planes[:, 0] + green * planes[:, 1] + blue * planes[:, 2] + 128) >> 8


def _rotate_hue(planes: Tensor, whole_sixths: Tensor, numerators: Tensor) -> None:
    """Rotate the hue, in place, as `color.rotate_hue` says.

    whole_sixths, numerators: (m,), of `color.split_turns`.
    """
    red, green, blue = planes.unbind(1)
    value, chroma = planes.amax(1), planes.amax(1) - planes.amin(1)
    from_green = torch.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma)
    hue = torch.where(value == red, green - blue, from_green)
    turn = chroma * numerators[:, None] + (2 ** (color.FRACTION_BITS - 1) - 1)
    hue = hue + (turn >> color.FRACTION_BITS)
    for channel, offset in enumerate((3, 1, 5)):
        sixths = (whole_sixths + (offset + 5)).remainder(6) - 5
        distance = ((hue + sixths[:, None] * chroma).abs() - 3 * chroma).abs() - chroma
        planes[:, channel] = value - torch.minimum(distance.clamp(min=0), chroma)


# ---- blur ----------------------------------------------------------------------------------------


def blur(views: Tensor, kernels: Tensor) -> Tensor:
    """Return images blurred, as `uniclip.augmentation.blur` does.

    Args:
        views: (m, 3, H, W) int32 in 0 .. 255.
        kernels: (m, K) int32 weights at the distances 0 .. K - 1; K is at most H and W.
    """
    for dim in (2, 3):
        shape = [len(views), 1, 1, 1]
        shape[dim] = views.shape[dim]
        sums = _sum_neighbours(views, kernels, dim)
        inside = _sum_neighbours(views.new_ones(shape), kernels, dim)
        views = torch.div(2 * sums + inside, 2 * inside, rounding_mode="floor")
    return views


def _sum_neighbours(values: Tensor, kernels: Tensor, dim: int) -> Tensor:
    """Return the weighted sum of the values up to K - 1 places away on either side."""
    weights = kernels[:, :, None, None, None].unbind(1)
    sums, size = values * weights[0], values.shape[dim]
    for distance in range(1, len(weights)):
        length = size - distance
        before, after = values.narrow(dim, 0, length), values.narrow(dim, distance, length)
        sums.narrow(dim, distance, length).addcmul_(before, weights[distance])
        sums.narrow(dim, 0, length).addcmul_(after, weights[distance])
    return sums
