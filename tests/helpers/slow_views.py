"""Views of one image by their definitions, in float64 and without any rounding: slow.

Images are (3, H, W) float64 in 0 .. 255.
"""

from __future__ import annotations

import colorsys
import math

import numpy as np

from uniclip.augmentation.transform import AugmentationParams

LUMA = np.array([0.299, 0.587, 0.114])[:, None, None]


def make_view(pixels: np.ndarray, params: AugmentationParams, size: int) -> np.ndarray:
    """Return the view (3, size, size) of a photograph (H, W, 3), whose parameters are of length 1.

    The evaluation transform is not covered: it is another resampling.
    """
    image = pixels.astype(np.float64).transpose(2, 0, 1)
    area, aspect, x, y = (float(getattr(params, n)[0]) for n in ("area", "aspect", "x", "y"))
    side, (_, height, width) = min(pixels.shape[:2]), image.shape
    left, right = round_box(width, side * math.sqrt(area * math.exp(aspect)), x)
    top, bottom = round_box(height, side * math.sqrt(area / math.exp(aspect)), y)
    crop = resize(image[:, top:bottom, left:right], size)
    return change(crop, params, size)


def change(crop: np.ndarray, params: AugmentationParams, size: int) -> np.ndarray:
    """Return what all operations after the crop make of it."""
    values = {name: float(column[0]) for name, column in vars(params).items()}
    view = crop[:, :, ::-1] if values["flip"] else crop
    view = scale(view, 0.0, math.exp(values["brightness"]))
    view = scale(view, (view * LUMA).sum(0).mean(), math.exp(values["contrast"]))
    view = scale(view, (view * LUMA).sum(0), math.exp(values["saturation"]))
    if values["hue"]:
        view = rotate_hue(view, values["hue"])
    if values["grey"]:
        view = np.broadcast_to((view * LUMA).sum(0), view.shape)
    return blur(view, values["sigma"] * size) if values["sigma"] else view


def round_box(length: int, extent: float, position: float) -> tuple[int, int]:
    """Return start and stop in whole pixels: of two half pixels the inner one."""
    start = (length - extent) / 2 * (1 + position)
    first, stop = math.floor(start + 0.5), math.ceil(start + extent - 0.5)
    if first >= stop:
        first = math.floor(start + extent / 2)
        stop = first + 1
    return max(first, 0), min(stop, length)


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Resample with a triangle as wide as two pixels of the larger grid on either side."""

    def weights(length: int) -> np.ndarray:
        step = length / size
        centre = step * (np.arange(size)[:, None] + 0.5)
        triangle = np.maximum(0, 1 - abs(centre - np.arange(length) - 0.5) / max(step, 1))
        return triangle / triangle.sum(1, keepdims=True)

    _, height, width = image.shape
    return weights(height) @ image @ weights(width).T


def scale(image: np.ndarray, target: np.ndarray | float, factor: float) -> np.ndarray:
    """Scale the difference from the target, and clip."""
    return np.clip(target + factor * (image - target), 0, 255)


def rotate_hue(image: np.ndarray, turn: float) -> np.ndarray:
    """Rotate the hue of each pixel by colorsys."""
    rotated = np.empty_like(image)
    for y, x in np.ndindex(image.shape[1:]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(image[:, y, x] / 255))
        rotated[:, y, x] = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
    return 255 * rotated


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Average with Gaussian weights over all pixels of the image."""

    def weights(length: int) -> np.ndarray:
        distance = np.arange(length)[:, None] - np.arange(length)
        gaussian = np.exp(-0.5 * (distance / sigma) ** 2)
        return gaussian / gaussian.sum(1, keepdims=True)

    return weights(image.shape[1]) @ image @ weights(image.shape[2]).T
