"""Color operations on 8-bit pixels, in 16-bit integers.

A processor handles sixteen or more such integers at once, and they give the same pixels on every
machine. Each operation rounds once; factors have eight binary digits after the point.

Planes are (m, 3, P) int16 in 0 .. 255: m images of P pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Int16 = NDArray[np.int16]
Float64 = NDArray[np.float64]

LUMA_WEIGHTS = (77, 150, 29)
"""ITU-R 601's 0.299, 0.587 and 0.114, of 256."""
FRACTION_BITS = 8
"""Binary digits after the point of a factor, if its product with 255 then fits 16 bits."""
_MAX_CHANGE = 127.0
"""Largest distance of a factor from 1."""


def scale_brightness(planes: Int16, factors: Float64) -> None:
    """Multiply images by `factors` (m,), in place."""
    change = FixedPoint(factors - 1)
    for channel in range(3):
        planes[:, channel] += change.multiply(planes[:, channel])
    np.clip(planes, 0, 255, out=planes)


def scale_contrast(planes: Int16, factors: Float64) -> None:
    """Scale the difference of images from their mean luma by `factors` (m,), in place."""
    mean_luma = compute_luma(planes).sum(-1, dtype=np.int64) / planes.shape[-1]
    change = FixedPoint(factors - 1)
    for channel in range(3):
        planes[:, channel] += change.multiply(planes[:, channel], -mean_luma)
    np.clip(planes, 0, 255, out=planes)


def scale_saturation(planes: Int16, factors: Float64) -> None:
    """Scale the difference of each pixel from its luma by `factors` (m,), in place."""
    change = FixedPoint(factors - 1)
    luma = compute_luma(planes)
    for channel in range(3):
        planes[:, channel] += change.multiply(planes[:, channel] - luma)
    np.clip(planes, 0, 255, out=planes)


class FixedPoint:
    """Factors (m,) as integers over powers of two.

    Attributes:
        numerators: (m,) whole numbers.
        bits: (m,) binary digits after the point.
    """

    def __init__(self, factors: Float64) -> None:
        factors = np.clip(factors, -_MAX_CHANGE, _MAX_CHANGE)
        largest = np.maximum(np.abs(factors), 2.0**-FRACTION_BITS)
        bits = np.minimum(np.floor(np.log2(127 / largest)), FRACTION_BITS)
        self._scale = 2**bits
        self.numerators = np.rint(factors * self._scale)
        self.bits = bits

    def multiply(self, plane: Int16, shift: Float64 | float = 0.0) -> Int16:
        """Return the product with `plane + shift`, (m, P), rounded.

        plane: (m, P) of which each value plus `shift` (m,) is within -255 .. 255.
        """
        offset = np.rint(self.numerators * shift + self._scale / 2)
        product: Int16 = plane * self.numerators.astype(np.int16)[:, None]
        product += offset.astype(np.int16)[:, None]
        return np.right_shift(product, self.bits.astype(np.int16)[:, None], out=product)


def rotate_hue(planes: Int16, turns: Float64) -> None:
    """Rotate the hue by `turns` (m,) of the circle at equal HSV saturation and value, in place.

    With V and C the largest channel and its distance from the smallest, and H the hue in sixths of
    the circle, a channel is V - C clip(2 - d, 0, 1), where d is the distance on the circle between
    H and the point opposite to the channel. All is multiplied by C, so nothing is divided.
    """
    red, green, blue = planes[:, 0], planes[:, 1], planes[:, 2]
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    hue = _compute_scaled_hue(red, green, blue, value, chroma)
    whole_sixths, numerators = split_turns(turns)
    turn = chroma * numerators.astype(np.int16)[:, None]
    turn += 2 ** (FRACTION_BITS - 1) - 1  # one more would exceed 16 bits
    turn >>= FRACTION_BITS
    hue += turn
    triple_chroma = 3 * chroma
    zeros = np.zeros_like(chroma)  # numpy is six times slower with a number instead
    for channel, offset in enumerate((3, 1, 5)):
        # hue + sixths * chroma is within six chromas of 0, of which `distance` needs no more.
        sixths = (np.mod(whole_sixths + offset + 5, 6) - 5).astype(np.int16)[:, None]
        distance = chroma * sixths
        distance += hue
        np.abs(distance, out=distance)
        distance -= triple_chroma
        np.abs(distance, out=distance)
        distance -= chroma
        np.maximum(distance, zeros, out=distance)
        np.minimum(distance, chroma, out=distance)
        np.subtract(value, distance, out=planes[:, channel])


def split_turns(turns: Float64) -> tuple[Float64, Float64]:
    """Return rotations (m,) as whole sixths of the circle, and the rest over 2**8, rounded."""
    whole_sixths = np.floor(6 * turns + 0.5)
    return whole_sixths, np.rint((6 * turns - whole_sixths) * 2**FRACTION_BITS)


def _compute_scaled_hue(
    red: Int16, green: Int16, blue: Int16, value: Int16, chroma: Int16
) -> Int16:
    """Return the hue in sixths of the circle times the chroma, (m, P); 0 is red."""
    ones = np.ones_like(chroma)
    is_not_red = np.minimum(value - red, ones)
    is_not_green = np.minimum(value - green, ones)
    from_blue = red - green
    from_blue += 4 * chroma
    from_green = blue - red
    from_green += 2 * chroma
    from_blue -= from_green
    from_blue *= is_not_green
    from_green += from_blue
    hue: Int16 = green - blue
    from_green -= hue
    from_green *= is_not_red
    hue += from_green
    return hue


def compute_luma(planes: Int16) -> Int16:
    """Return the luma (m, P), rounded."""
    words = planes.view(np.uint16)  # 255 * 256 does not fit int16
    luma = words[:, 0] * np.uint16(LUMA_WEIGHTS[0])
    luma += words[:, 1] * np.uint16(LUMA_WEIGHTS[1])
    luma += words[:, 2] * np.uint16(LUMA_WEIGHTS[2])
    luma += np.uint16(128)
    luma >>= np.uint16(8)
    return luma.view(np.int16)
