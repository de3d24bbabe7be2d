"""Views of pictures: sampled, described as a vector, applied. Three separate steps.

A `Transform` holds the numbers drawn for each picture; `describe` turns any transform, the
evaluation's included, into the vector that the augmentation encoder sees; `apply` makes the
pixels. Numbers are drawn without a look at the pictures, by key and sample id. The order in which
a view is made is fixed: crop and resize, flip, brightness, contrast, saturation, hue, grey, blur.

The recipes are those of SLIP (Mu et al., 2022: weak, a crop and nothing else) and MoCo v2 (Chen et
al., 2020: strong); SLIP itself cuts its strong views down to an area of 0.08.
Ours: some views are exactly the evaluation's; crops are drawn without rejection; the jitter's
order is fixed; the blur's width is a share of the picture, the same at 32 and 224 px.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip import rng

Float32 = NDArray[np.float32]

NAMES = (
    "area", "aspect", "x", "y", "flip",
    "jittered", "brightness", "contrast", "saturation", "hue",
    "grey", "blurred", "sigma",
)  # fmt: skip
"""Columns of the vector."""

WIDTH = len(NAMES)

GROUPS: dict[str, tuple[int, ...]] = {
    "crop": (0, 1, 2, 3),
    "flip": (4,),
    "jitter": (5, 6, 7, 8, 9),
    "grey": (10,),
    "blur": (11, 12),
}
"""Columns of the vector that belong to one operation."""


@dataclass(frozen=True)
class Transform:
    """What is done to n pictures: each field (n,) float32, 0 (area: 1) where nothing is done."""

    area: Float32
    """Of the crop box, as a fraction of the canvas; above 1 zooms out (the border is repeated)."""
    aspect: Float32
    """Log of the box's width over its height."""
    x: Float32
    """Centre of the box within its slack: -1 left, 0 centred (or no slack), 1 right."""
    y: Float32
    """The same, -1 top, 1 bottom."""
    flip: Float32
    """1 = mirrored left to right."""
    jittered: Float32
    """1 = colours were jittered."""
    brightness: Float32
    """Log factor."""
    contrast: Float32
    """Log factor."""
    saturation: Float32
    """Log factor."""
    hue: Float32
    """Turns, in -1/2 .. 1/2."""
    grey: Float32
    """1 = without colour."""
    blurred: Float32
    """1 = blurred."""
    sigma: Float32
    """Standard deviation of the blur, as a fraction of the view's side."""

    def __len__(self) -> int:
        return len(self.area)

    def __getitem__(self, index: NDArray[np.int64] | slice) -> Transform:
        """The transforms of some of the pictures."""
        return Transform(*(getattr(self, f.name)[index] for f in fields(self)))


def transform(n: int, **columns: NDArray[Any]) -> Transform:
    """A transform of n pictures from what it does; fields that are not named do nothing."""
    values = {f.name: np.zeros(n, np.float32) for f in fields(Transform)}
    values["area"] += 1
    values.update({name: np.asarray(v, np.float32) for name, v in columns.items()})
    return Transform(**values)


def boxed(
    left: NDArray[np.float64],
    top: NDArray[np.float64],
    width: NDArray[np.float64],
    height: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """The fields area, aspect, x and y of a box on the unit canvas, each (n,)."""
    return {
        "area": width * height,
        "aspect": np.log(width / height),
        "x": _relative(left, width),
        "y": _relative(top, height),
    }


def _relative(start: NDArray[np.float64], extent: NDArray[np.float64]) -> NDArray[np.float64]:
    slack = np.abs(1 - extent)
    shift = 2 * start + extent - 1
    # Slack below a millionth of the canvas is rounding: such a box has no room to be off centre.
    return np.where(slack > 1e-6, shift / np.maximum(slack, 1e-6), 0.0)


# ---- sampling -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """A law of views."""

    smallest: float
    """Least area of a crop; the largest is 1."""
    flip: float = 0.0
    """Probability of a flip."""
    jitter: float = 0.0
    """Probability of colour jitter."""
    grey: float = 0.0
    """Probability of losing colour."""
    blur: float = 0.0
    """Probability of blur."""


WEAK = Recipe(smallest=0.5)
STRONG = Recipe(smallest=0.2, flip=0.5, jitter=0.8, grey=0.2, blur=0.5)

ASPECT = math.log(4 / 3)
"""Largest log aspect of a crop, either way."""
FACTOR = (0.6, 1.4)
"""Range of the factors of brightness, contrast and saturation."""
HUE = 0.1
"""Largest turn of the hue, either way."""
SIGMA = (0.1 / 224, 2.0 / 224)
"""Range of the blur's standard deviation: 0.1 to 2 px at 224 px, as published."""


def evaluation(n: int) -> Transform:
    """The evaluation transform of n pictures: the whole canvas, resized."""
    return transform(n)


def weak(key: int, ids: rng.UInt64, identity: float = 0.1) -> Transform:
    """Weak views of samples `ids` (n,): RandomResizedCrop(0.5, 1)."""
    return sample(WEAK, key, ids, identity)


def strong(
    key: int, ids: rng.UInt64, identity: float = 0.1, crop: float = STRONG.smallest
) -> Transform:
    """Strong views of samples `ids` (n,): RandomResizedCrop(crop, 1), flip, jitter, grey, blur."""
    return sample(replace(STRONG, smallest=crop), key, ids, identity)


def sample(recipe: Recipe, key: int, ids: rng.UInt64, identity: float) -> Transform:
    """Views drawn by `recipe`; with probability `identity` a view is exactly the evaluation's.

    The aspect is uniform (in log) among those at which a box of the drawn area fits the canvas;
    torchvision redraws until one fits and falls back to a centre crop.
    """
    u = rng.uniform(key, ids, 14).T
    done = u[0] >= identity
    area = np.where(done, recipe.smallest + (1 - recipe.smallest) * u[1], 1.0)
    jittered = done & (u[6] < recipe.jitter)
    blurred = done & (u[12] < recipe.blur)

    def between(low: float, high: float, column: int) -> NDArray[np.float64]:
        return low + (high - low) * u[column]

    return transform(
        len(ids),
        area=area,
        aspect=between(-1, 1, 2) * np.minimum(ASPECT, -np.log(area)),
        x=between(-1, 1, 3) * done,
        y=between(-1, 1, 4) * done,
        flip=done & (u[5] < recipe.flip),
        jittered=jittered,
        brightness=np.log(between(*FACTOR, 7)) * jittered,
        contrast=np.log(between(*FACTOR, 8)) * jittered,
        saturation=np.log(between(*FACTOR, 9)) * jittered,
        hue=between(-HUE, HUE, 10) * jittered,
        grey=done & (u[11] < recipe.grey),
        blurred=blurred,
        sigma=between(*SIGMA, 13) * blurred,
    )


# ---- describing ---------------------------------------------------------------------------------


def describe(transform: Transform) -> Float32:
    """The vectors, (n, WIDTH) float32: exactly 0 where nothing is done.

    Each column is divided by its standard deviation under the strong recipe without identity
    views, from closed forms (`DEVIATIONS`). Beyond four deviations, which the recipes never reach
    but other transforms may (a turn of the hue by half a circle), a column grows like a logarithm,
    so that one rare operation does not swamp the encoder. The box stands by area, aspect and
    position within its slack, never by its size in the source: that would leak the picture's own
    aspect.
    """
    columns = np.stack([getattr(transform, name) for name in NAMES], axis=1).astype(np.float64)
    columns[:, 0] -= 1
    scaled = columns / DEVIATIONS
    excess = np.maximum(np.abs(scaled) - 4, 0)
    bounded = np.where(excess > 0, np.sign(scaled) * (4 + np.log1p(excess)), scaled)
    return bounded.astype(np.float32)


def _deviations() -> NDArray[np.float64]:
    """Standard deviation of each column under STRONG."""

    def bit(p: float) -> float:
        return math.sqrt(p * (1 - p))

    def sometimes(p: float, mean: float, square: float) -> float:
        """Of a variable with these moments, times a bit of probability p."""
        return math.sqrt(p * square - (p * mean) ** 2)

    def log_moments(low: float, high: float) -> tuple[float, float]:
        """E[log t] and E[log^2 t] for t uniform between low and high."""

        def first(t: float) -> float:
            return t * math.log(t) - t

        def second(t: float) -> float:
            return t * math.log(t) ** 2 - 2 * first(t)

        span = high - low
        return (first(high) - first(low)) / span, (second(high) - second(low)) / span

    span = 1 - STRONG.smallest
    fits = math.exp(-ASPECT)  # at larger areas the canvas, not ASPECT, bounds the aspect
    bound_square = (fits - STRONG.smallest) * ASPECT**2 + (1 - fits) * log_moments(fits, 1)[1]
    factor = sometimes(STRONG.jitter, *log_moments(*FACTOR))
    low, high = SIGMA
    blur_mean, blur_square = (low + high) / 2, (low**2 + low * high + high**2) / 3
    of_column = {
        "area": span / math.sqrt(12),
        "aspect": math.sqrt(bound_square / span / 3),
        "x": 1 / math.sqrt(3),
        "y": 1 / math.sqrt(3),
        "flip": bit(STRONG.flip),
        "jittered": bit(STRONG.jitter),
        "brightness": factor,
        "contrast": factor,
        "saturation": factor,
        "hue": sometimes(STRONG.jitter, 0.0, HUE**2 / 3),
        "grey": bit(STRONG.grey),
        "blurred": bit(STRONG.blur),
        "sigma": sometimes(STRONG.blur, blur_mean, blur_square),
    }
    return np.array([of_column[name] for name in NAMES])


DEVIATIONS = _deviations()
"""(WIDTH,) float64: what the columns of the vector are divided by."""


# ---- applying -----------------------------------------------------------------------------------


def apply(pixels: NDArray[np.uint8], transform: Transform, size: int) -> NDArray[np.uint8]:
    """The views, (n, 3, size, size) uint8, of `pixels` (n, 3, H, W) uint8 under n transforms.

    A canvas that is not square is first cropped to its central square. Crops are resampled with an
    antialiased triangle filter (Pillow's bilinear); what a box sees beyond the canvas repeats the
    border. One thread, whatever the caller's setting, so the bits don't depend on it.
    """
    from uniclip.augmentation import (
        apply as kernels,  # imports torch; sampling and describing don't
    )

    assert len(pixels) == len(transform), "one transform a picture"
    if len(pixels) == 0:
        return np.zeros((0, 3, size, size), np.uint8)
    return kernels.apply(_square(pixels), transform, size)


def _square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[:, :, top : top + side, left : left + side]
