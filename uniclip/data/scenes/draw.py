"""Drawing scenes: pixels from attributes and sample ids, vectorised over the batch.

Lengths are given for a picture of 32 px and grow with its side. What the damage of `scene_views`
relies on: shapes keep clear of the vertical middle line and of the rim that a zoom cuts off; they
stand in three rows, whose middle one is always taken; ground, noise and stripes have no hue of
their own, and the six colours are turns of one by 60 degrees; sizes differ by the factor `ZOOM`,
and stripes grow with the size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uniclip import rng

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

UNIT = 32
"""The side, in pixels, for which lengths are given."""
ZOOM = 1.3
"""Large over small."""
LARGE = 3.4
"""Radius of a large shape."""
ROW = 7.4
"""Distance of the rows in which shapes stand."""
INNER, OUTER = 1.2, 11.2
"""Shapes lie between these distances from the vertical middle line."""
LOW = 0.3
"""Least channel of a colour, as a share of its largest."""
REACH = 4.6
"""No shape reaches further from the middle of its row."""
STRIPES = 0.3
"""Half the contrast of stripes, as a share of the mean: striped is as bright as plain."""


def draw(rows: Int64, ids: rng.UInt64, size: int) -> NDArray[np.uint8]:
    """Pictures, (n, 3, size, size) uint8, of attribute rows (n, 6) and sample ids (n,)."""
    n = len(rows)
    count, large, colour, striped, shape, right = rows.T
    u = rng.uniform(rng.key("scenes", "nuisance"), ids, 12).astype(np.float32)
    radius = (LARGE / ZOOM ** (1 - large) * (1 + 0.08 * (u[:, 0] - 0.5))).astype(np.float32)
    axis = ((np.arange(size) + 0.5) / size * UNIT - UNIT / 2).astype(np.float32)
    cover, paint = np.zeros((2, n, size, size), np.float32)
    for slot, there in zip((-1, 0, 1), _taken(count, u[:, 1]), strict=True):
        r = radius[there, None, None]
        band = np.flatnonzero(np.abs(axis - slot * ROW) < REACH)
        x = axis - _across(right, radius, u[:, 4 + slot])[there, None, None]
        y = axis[band, None] - slot * ROW - 0.3 * (u[there, 6, None, None] - 0.5)
        inside = _coverage(np.abs(x) / r, y / r, shape[there], r * (size / UNIT))
        wave = np.sin(y / r * (2 * np.pi / 1.1) + 2 * np.pi * u[there, 7, None, None])
        here = (there[:, None], band)
        cover[here] += inside
        paint[here] += inside * (1 + STRIPES * striped[there, None, None] * wave)
    ground = (15 + 25 * u[:, 2, None, None]) + _noise(ids, size)
    pixels = _colours(colour, u[:, 8], u[:, 9])[:, :, None, None] * paint[:, None]
    pixels += (ground * (1 - cover) + 0.5)[:, None]
    return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)


def _taken(count: Int64, u: Float32) -> tuple[Int64, Int64, Int64]:
    """The samples with a shape in the upper row, the middle one and the lower one."""
    upper = (count == 2) | ((count == 1) & (u < 0.5))
    lower = (count == 2) | ((count == 1) & (u >= 0.5))
    return np.flatnonzero(upper), np.arange(len(count)), np.flatnonzero(lower)


def _across(right: Int64, radius: Float32, u: Float32) -> Float32:
    """Centres, (n,), to the left or right of the picture's middle."""
    least, most = INNER + radius, OUTER - radius
    distance = least + (most - least) * u
    return np.where(right == 1, distance, -distance).astype(np.float32)


def _coverage(x: Float32, y: Float32, shape: Int64, pixels: Float32) -> Float32:
    """How much of each pixel lies inside, (n, S, S), from its distance to the outline.

    x >= 0, y: in radii, every shape being its own mirror image. `pixels`: the radius in pixels.
    """
    kinds = (
        lambda x, y: np.sqrt(x * x + y * y) - 0.98,
        lambda x, y: np.maximum(x, np.abs(y)) - 0.86,
        lambda x, y: np.maximum(0.866 * x - 0.5 * y - 0.46, y - 0.8),
        lambda x, y: np.minimum(
            np.maximum(x - 0.98, np.abs(y) - 0.36), np.maximum(x - 0.36, np.abs(y) - 0.98)
        ),
    )
    inside = np.empty(np.broadcast_shapes(x.shape, y.shape), np.float32)
    for kind, distance in enumerate(kinds):
        those = np.flatnonzero(shape == kind)
        inside[those] = 0.5 - distance(x[those], y[those]) * pixels[those]
    return np.clip(inside, 0, 1)


def _colours(colour: Int64, bright: Float32, dark: Float32) -> Float32:
    """(n, 3): six hues at one saturation; greys over the whole range of their brightness."""
    channels = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]])
    shares = np.where(channels == 1, 1.0, LOW)
    value = 140 + 30 * bright
    # A colour without its hue is a grey of 0.38 to 0.93 times its value: greys cover that range.
    grey = value * (0.38 + 0.55 * dark)
    hued = shares[np.minimum(colour, 5)] * value[:, None]
    return np.where(colour[:, None] == 6, grey[:, None], hued).astype(np.float32)


def _noise(ids: rng.UInt64, size: int) -> Float32:
    """(n, size, size): standard deviation 6 grey levels, triangular (a sum of two draws)."""
    words = rng.words(rng.key("scenes", "noise"), ids, size * size)
    total = ((words & np.uint64(0xFFFF)) + (words >> np.uint64(16))).astype(np.float32)
    noise: Float32 = (total / np.float32(65535) - np.float32(1)) * np.float32(6 * 6**0.5)
    return noise.reshape(len(ids), size, size)
