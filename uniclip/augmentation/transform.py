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

VECTOR_COLUMNS = (
    "area", "aspect", "x", "y", "flip",
    "jittered", "brightness", "contrast", "saturation", "hue",
    "grey", "blurred", "sigma",
)  # fmt: skip
"""Columns of the vector."""

VECTOR_DIM = len(VECTOR_COLUMNS)

TRANSFORM_GROUPS: dict[str, tuple[int, ...]] = {
    "crop": (0, 1, 2, 3),
    "flip": (4,),
    "jitter": (5, 6, 7, 8, 9),
    "grey": (10,),
    "blur": (11, 12),
}
"""Columns of the vector that belong to one operation."""


@dataclass(frozen=True)
class AugmentationParams:
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

    def __getitem__(self, index: NDArray[np.int64] | slice) -> AugmentationParams:
        """The transforms of some of the pictures."""
        return AugmentationParams(*(getattr(self, f.name)[index] for f in fields(self)))


def build_params(n: int, **columns: NDArray[Any]) -> AugmentationParams:
    """A transform of n pictures from what it does; fields that are not named do nothing."""
    values = {f.name: np.zeros(n, np.float32) for f in fields(AugmentationParams)}
    values["area"] += 1
    values.update({name: np.asarray(column, np.float32) for name, column in columns.items()})
    return AugmentationParams(**values)


def compute_box_columns(
    left: NDArray[np.float64],
    top: NDArray[np.float64],
    width: NDArray[np.float64],
    height: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """The fields area, aspect, x and y of a box on the unit canvas, each (n,)."""
    return {
        "area": width * height,
        "aspect": np.log(width / height),
        "x": _compute_relative_center(left, width),
        "y": _compute_relative_center(top, height),
    }


def _compute_relative_center(
    start: NDArray[np.float64], extent: NDArray[np.float64]
) -> NDArray[np.float64]:
    slack = np.abs(1 - extent)
    shift = 2 * start + extent - 1
    # Slack below a millionth of the canvas is rounding: such a box has no room to be off centre.
    return np.where(slack > 1e-6, shift / np.maximum(slack, 1e-6), 0.0)


# ---- sampling -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class AugmentationPolicy:
    """A law of views."""

    min_crop_scale: float
    """Least area of a crop; the largest is 1."""
    flip_prob: float = 0.0
    """Probability of a flip."""
    jitter_prob: float = 0.0
    """Probability of colour jitter."""
    grayscale_prob: float = 0.0
    """Probability of losing colour."""
    blur_prob: float = 0.0
    """Probability of blur."""


WEAK_POLICY = AugmentationPolicy(min_crop_scale=0.5)
STRONG_POLICY = AugmentationPolicy(
    min_crop_scale=0.2, flip_prob=0.5, jitter_prob=0.8, grayscale_prob=0.2, blur_prob=0.5
)

MAX_LOG_ASPECT = math.log(4 / 3)
"""Largest log aspect of a crop, either way."""
JITTER_FACTOR_RANGE = (0.6, 1.4)
"""Range of the factors of brightness, contrast and saturation."""
MAX_HUE_SHIFT = 0.1
"""Largest turn of the hue, either way."""
BLUR_SIGMA_RANGE = (0.1 / 224, 2.0 / 224)
"""Range of the blur's standard deviation: 0.1 to 2 px at 224 px, as published."""


def build_evaluation_params(n: int) -> AugmentationParams:
    """The evaluation transform of n pictures: the whole canvas, resized."""
    return build_params(n)


def sample_weak(key: int, ids: rng.UInt64, identity_prob: float = 0.1) -> AugmentationParams:
    """Weak views of samples `ids` (n,): RandomResizedCrop(0.5, 1)."""
    return sample_params(WEAK_POLICY, key, ids, identity_prob)


def sample_strong(
    key: int,
    ids: rng.UInt64,
    identity_prob: float = 0.1,
    min_crop_scale: float = STRONG_POLICY.min_crop_scale,
) -> AugmentationParams:
    """Strong views of samples `ids` (n,): RandomResizedCrop(crop, 1), flip, jitter, grey, blur."""
    return sample_params(
        replace(STRONG_POLICY, min_crop_scale=min_crop_scale), key, ids, identity_prob
    )


def sample_params(
    policy: AugmentationPolicy, key: int, ids: rng.UInt64, identity_prob: float
) -> AugmentationParams:
    """Views drawn by `recipe`; with probability `identity` a view is exactly the evaluation's.

    The aspect is uniform (in log) among those at which a box of the drawn area fits the canvas;
    torchvision redraws until one fits and falls back to a centre crop.
    """
    draws = rng.uniform(key, ids, 14).T
    is_augmented = draws[0] >= identity_prob
    crop_area = np.where(
        is_augmented, policy.min_crop_scale + (1 - policy.min_crop_scale) * draws[1], 1.0
    )
    is_jittered = is_augmented & (draws[6] < policy.jitter_prob)
    is_blurred = is_augmented & (draws[12] < policy.blur_prob)

    def scale_draw(low: float, high: float, column: int) -> NDArray[np.float64]:
        return low + (high - low) * draws[column]

    return build_params(
        len(ids),
        area=crop_area,
        aspect=scale_draw(-1, 1, 2) * np.minimum(MAX_LOG_ASPECT, -np.log(crop_area)),
        x=scale_draw(-1, 1, 3) * is_augmented,
        y=scale_draw(-1, 1, 4) * is_augmented,
        flip=is_augmented & (draws[5] < policy.flip_prob),
        jittered=is_jittered,
        brightness=np.log(scale_draw(*JITTER_FACTOR_RANGE, 7)) * is_jittered,
        contrast=np.log(scale_draw(*JITTER_FACTOR_RANGE, 8)) * is_jittered,
        saturation=np.log(scale_draw(*JITTER_FACTOR_RANGE, 9)) * is_jittered,
        hue=scale_draw(-MAX_HUE_SHIFT, MAX_HUE_SHIFT, 10) * is_jittered,
        grey=is_augmented & (draws[11] < policy.grayscale_prob),
        blurred=is_blurred,
        sigma=scale_draw(*BLUR_SIGMA_RANGE, 13) * is_blurred,
    )


# ---- describing ---------------------------------------------------------------------------------


def encode_as_vector(params: AugmentationParams) -> Float32:
    """The vectors, (n, WIDTH) float32: exactly 0 where nothing is done.

    Each column is divided by its standard deviation under the strong recipe without identity
    views, from closed forms (`DEVIATIONS`). Beyond four deviations, which the recipes never reach
    but other transforms may (a turn of the hue by half a circle), a column grows like a logarithm,
    so that one rare operation does not swamp the encoder. The box stands by area, aspect and
    position within its slack, never by its size in the source: that would leak the picture's own
    aspect.
    """
    columns = np.stack([getattr(params, name) for name in VECTOR_COLUMNS], axis=1).astype(
        np.float64
    )
    columns[:, 0] -= 1
    standardized = columns / COLUMN_STD
    excess = np.maximum(np.abs(standardized) - 4, 0)
    compressed = np.where(excess > 0, np.sign(standardized) * (4 + np.log1p(excess)), standardized)
    return compressed.astype(np.float32)


def _compute_column_std() -> NDArray[np.float64]:
    """Standard deviation of each column under STRONG."""

    def bernoulli_std(prob: float) -> float:
        return math.sqrt(prob * (1 - prob))

    def gated_std(prob: float, mean: float, second_moment: float) -> float:
        """Of a variable with these moments, times a bit of probability p."""
        return math.sqrt(prob * second_moment - (prob * mean) ** 2)

    def compute_log_moments(low: float, high: float) -> tuple[float, float]:
        """E[log t] and E[log^2 t] for t uniform between low and high."""

        def integrate_log(t: float) -> float:
            return t * math.log(t) - t

        def integrate_log_squared(t: float) -> float:
            return t * math.log(t) ** 2 - 2 * integrate_log(t)

        area_range = high - low
        return (integrate_log(high) - integrate_log(low)) / area_range, (
            integrate_log_squared(high) - integrate_log_squared(low)
        ) / area_range

    area_range = 1 - STRONG_POLICY.min_crop_scale
    max_unbounded_area = math.exp(
        -MAX_LOG_ASPECT
    )  # at larger areas the canvas, not ASPECT, bounds the aspect
    aspect_second_moment = (
        max_unbounded_area - STRONG_POLICY.min_crop_scale
    ) * MAX_LOG_ASPECT**2 + (1 - max_unbounded_area) * compute_log_moments(max_unbounded_area, 1)[1]
    factor_std = gated_std(STRONG_POLICY.jitter_prob, *compute_log_moments(*JITTER_FACTOR_RANGE))
    low, high = BLUR_SIGMA_RANGE
    sigma_mean, sigma_second_moment = (low + high) / 2, (low**2 + low * high + high**2) / 3
    std_by_column = {
        "area": area_range / math.sqrt(12),
        "aspect": math.sqrt(aspect_second_moment / area_range / 3),
        "x": 1 / math.sqrt(3),
        "y": 1 / math.sqrt(3),
        "flip": bernoulli_std(STRONG_POLICY.flip_prob),
        "jittered": bernoulli_std(STRONG_POLICY.jitter_prob),
        "brightness": factor_std,
        "contrast": factor_std,
        "saturation": factor_std,
        "hue": gated_std(STRONG_POLICY.jitter_prob, 0.0, MAX_HUE_SHIFT**2 / 3),
        "grey": bernoulli_std(STRONG_POLICY.grayscale_prob),
        "blurred": bernoulli_std(STRONG_POLICY.blur_prob),
        "sigma": gated_std(STRONG_POLICY.blur_prob, sigma_mean, sigma_second_moment),
    }
    return np.array([std_by_column[name] for name in VECTOR_COLUMNS])


COLUMN_STD = _compute_column_std()
"""(WIDTH,) float64: what the columns of the vector are divided by."""
