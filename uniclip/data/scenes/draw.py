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

REFERENCE_SIZE = 32
"""The side, in pixels, for which lengths are given."""
SIZE_RATIO = 1.3
"""Large over small."""
LARGE_RADIUS = 3.4
"""Radius of a large shape."""
ROW_SPACING = 7.4
"""Distance of the rows in which shapes stand."""
MIN_CENTER_DISTANCE, MAX_CENTER_DISTANCE = 1.2, 11.2
"""Shapes lie between these distances from the vertical middle line."""
MIN_CHANNEL_SHARE = 0.3
"""Least channel of a colour, as a share of its largest."""
MAX_ROW_EXTENT = 4.6
"""No shape reaches further from the middle of its row."""
STRIPE_CONTRAST = 0.3
"""Half the contrast of stripes, as a share of the mean: striped is as bright as plain."""


def draw_scenes(attribute_rows: Int64, ids: rng.UInt64, image_size: int) -> NDArray[np.uint8]:
    """Pictures, (n, 3, size, size) uint8, of attribute rows (n, 6) and sample ids (n,)."""
    n = len(attribute_rows)
    count, is_large, colour, is_striped, shape, is_right = attribute_rows.T
    draws = rng.uniform(rng.derive_key("scenes", "nuisance"), ids, 12).astype(np.float32)
    radius = (
        LARGE_RADIUS / SIZE_RATIO ** (1 - is_large) * (1 + 0.08 * (draws[:, 0] - 0.5))
    ).astype(np.float32)
    pixel_positions = (
        (np.arange(image_size) + 0.5) / image_size * REFERENCE_SIZE - REFERENCE_SIZE / 2
    ).astype(np.float32)
    coverage, foreground = np.zeros((2, n, image_size, image_size), np.float32)
    for row_index, sample_index in zip(
        (-1, 0, 1), _find_samples_by_row(count, draws[:, 1]), strict=True
    ):
        shape_radius = radius[sample_index, None, None]
        pixel_rows = np.flatnonzero(
            np.abs(pixel_positions - row_index * ROW_SPACING) < MAX_ROW_EXTENT
        )
        x = (
            pixel_positions
            - _compute_center_x(is_right, radius, draws[:, 4 + row_index])[sample_index, None, None]
        )
        y = (
            pixel_positions[pixel_rows, None]
            - row_index * ROW_SPACING
            - 0.3 * (draws[sample_index, 6, None, None] - 0.5)
        )
        shape_coverage = _compute_coverage(
            np.abs(x) / shape_radius,
            y / shape_radius,
            shape[sample_index],
            shape_radius * (image_size / REFERENCE_SIZE),
        )
        wave = np.sin(
            y / shape_radius * (2 * np.pi / 1.1) + 2 * np.pi * draws[sample_index, 7, None, None]
        )
        region = (sample_index[:, None], pixel_rows)
        coverage[region] += shape_coverage
        foreground[region] += shape_coverage * (
            1 + STRIPE_CONTRAST * is_striped[sample_index, None, None] * wave
        )
    background = (15 + 25 * draws[:, 2, None, None]) + _sample_noise(ids, image_size)
    pixels = (
        _compute_colors(colour, draws[:, 8], draws[:, 9])[:, :, None, None] * foreground[:, None]
    )
    pixels += (background * (1 - coverage) + 0.5)[:, None]
    return np.clip(pixels, 0, 255, out=pixels).astype(np.uint8)


def _find_samples_by_row(count: Int64, draws: Float32) -> tuple[Int64, Int64, Int64]:
    """The samples with a shape in the upper row, the middle one and the lower one."""
    upper = (count == 2) | ((count == 1) & (draws < 0.5))
    lower = (count == 2) | ((count == 1) & (draws >= 0.5))
    return np.flatnonzero(upper), np.arange(len(count)), np.flatnonzero(lower)


def _compute_center_x(is_right: Int64, radius: Float32, draws: Float32) -> Float32:
    """Centres, (n,), to the left or right of the picture's middle."""
    min_distance, max_distance = MIN_CENTER_DISTANCE + radius, MAX_CENTER_DISTANCE - radius
    distance = min_distance + (max_distance - min_distance) * draws
    return np.where(is_right == 1, distance, -distance).astype(np.float32)


def _compute_coverage(x: Float32, y: Float32, shape: Int64, radius_px: Float32) -> Float32:
    """How much of each pixel lies inside, (n, S, S), from its distance to the outline.

    x >= 0, y: in radii, every shape being its own mirror image. `pixels`: the radius in pixels.
    """
    outline_distances = (
        lambda x, y: np.sqrt(x * x + y * y) - 0.98,
        lambda x, y: np.maximum(x, np.abs(y)) - 0.86,
        lambda x, y: np.maximum(0.866 * x - 0.5 * y - 0.46, y - 0.8),
        lambda x, y: np.minimum(
            np.maximum(x - 0.98, np.abs(y) - 0.36), np.maximum(x - 0.36, np.abs(y) - 0.98)
        ),
    )
    coverage = np.empty(np.broadcast_shapes(x.shape, y.shape), np.float32)
    for shape_index, outline_distance in enumerate(outline_distances):
        sample_index = np.flatnonzero(shape == shape_index)
        coverage[sample_index] = (
            0.5 - outline_distance(x[sample_index], y[sample_index]) * radius_px[sample_index]
        )
    return np.clip(coverage, 0, 1)


def _compute_colors(colour: Int64, brightness_draws: Float32, grey_draws: Float32) -> Float32:
    """(n, 3): six hues at one saturation; greys over the whole range of their brightness."""
    channels = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]])
    channel_shares = np.where(channels == 1, 1.0, MIN_CHANNEL_SHARE)
    value = 140 + 30 * brightness_draws
    # A colour without its hue is a grey of 0.38 to 0.93 times its value: greys cover that range.
    grey = value * (0.38 + 0.55 * grey_draws)
    chromatic = channel_shares[np.minimum(colour, 5)] * value[:, None]
    return np.where(colour[:, None] == 6, grey[:, None], chromatic).astype(np.float32)


def _sample_noise(ids: rng.UInt64, image_size: int) -> Float32:
    """(n, size, size): standard deviation 6 grey levels, triangular (a sum of two draws)."""
    random_words = rng.draw_words(rng.derive_key("scenes", "noise"), ids, image_size * image_size)
    total = ((random_words & np.uint64(0xFFFF)) + (random_words >> np.uint64(16))).astype(
        np.float32
    )
    noise: Float32 = (total / np.float32(65535) - np.float32(1)) * np.float32(6 * 6**0.5)
    return noise.reshape(len(ids), image_size, image_size)
