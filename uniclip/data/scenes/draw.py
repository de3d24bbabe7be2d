"""Drawing of scenes: pixels from attributes and sample ids, vectorised over the batch.

Lengths are stated for an image of 32 px and scale with its side. `views` relies on the following:
shapes keep clear of the vertical middle line and of the margin that a zoom cuts off; they stand in
three rows, of which the middle one is always occupied; background, noise and stripes have no hue,
and the six colours are rotations of one hue by 60 degrees; sizes differ by the factor `SIZE_RATIO`,
and stripes scale with the size.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from uniclip import rng

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

REFERENCE_SIZE = 32
"""Side of the image for which lengths are stated, in pixels."""
SIZE_RATIO = 1.3
"""Ratio of the large to the small size."""
LARGE_RADIUS = 3.4
"""Radius of a large shape, in pixels of the reference image."""
ROW_SPACING = 7.4
"""Distance between the rows of shapes."""
MIN_CENTER_DISTANCE, MAX_CENTER_DISTANCE = 1.2, 11.2
"""Range of the horizontal distance of a shape's outline from the vertical middle line."""
MIN_CHANNEL_SHARE = 0.3
"""Smallest channel of a colour, as a fraction of its largest."""
MAX_ROW_EXTENT = 4.6
"""Largest vertical distance of a shape's outline from the middle of its row."""
STRIPE_CONTRAST = 0.3
"""Half the contrast of stripes, as a fraction of the mean; striped is as bright as plain."""


def draw_scenes(attribute_rows: Int64, ids: rng.UInt64, image_size: int) -> NDArray[np.uint8]:
    """Draw scenes from attribute rows (n, 6) and sample ids (n,).

    Returns:
        (n, 3, image_size, image_size) uint8.
    """
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
    """Return the samples with a shape in the upper, the middle and the lower row."""
    upper = (count == 2) | ((count == 1) & (draws < 0.5))
    lower = (count == 2) | ((count == 1) & (draws >= 0.5))
    return np.flatnonzero(upper), np.arange(len(count)), np.flatnonzero(lower)


def _compute_center_x(is_right: Int64, radius: Float32, draws: Float32) -> Float32:
    """Return the horizontal centres of the shapes, (n,), relative to the middle of the image."""
    min_distance, max_distance = MIN_CENTER_DISTANCE + radius, MAX_CENTER_DISTANCE - radius
    distance = min_distance + (max_distance - min_distance) * draws
    return np.where(is_right == 1, distance, -distance).astype(np.float32)


def _compute_coverage(x: Float32, y: Float32, shape: Int64, radius_px: Float32) -> Float32:
    """Return the fraction of each pixel inside the shape, (n, S, S), from its outline distance.

    Args:
        x: Horizontal distances from the centre, in radii; >= 0, since shapes are symmetric.
        y: Vertical offsets from the centre, in radii.
        shape: (n,) indices into the values of "shape".
        radius_px: Radii in pixels.
    """
    outline_distances: tuple[Callable[[Float32, Float32], NDArray[np.floating]], ...] = (
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
    """Return colours, (n, 3): six hues at one saturation, or greys over their brightness range."""
    channels = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1]])
    channel_shares = np.where(channels == 1, 1.0, MIN_CHANNEL_SHARE)
    value = 140 + 30 * brightness_draws
    # Desaturating a colour gives a grey of 0.38 to 0.93 times its value; greys cover that range.
    grey = value * (0.38 + 0.55 * grey_draws)
    chromatic = channel_shares[np.minimum(colour, 5)] * value[:, None]
    return np.where(colour[:, None] == 6, grey[:, None], chromatic).astype(np.float32)


def _sample_noise(ids: rng.UInt64, image_size: int) -> Float32:
    """Return triangular noise (a sum of two draws) of SD 6 grey levels, (n, size, size)."""
    random_words = rng.draw_words(rng.derive_key("scenes", "noise"), ids, image_size * image_size)
    total = ((random_words & np.uint64(0xFFFF)) + (random_words >> np.uint64(16))).astype(
        np.float32
    )
    noise: Float32 = (total / np.float32(65535) - np.float32(1)) * np.float32(6 * 6**0.5)
    return noise.reshape(len(ids), image_size, image_size)
