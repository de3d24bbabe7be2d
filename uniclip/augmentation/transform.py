"""Augmentation parameters: sampling them, and encoding them as vectors.

`AugmentationParams` holds the numbers drawn for each image. `encode_as_vector` turns parameters,
those of the evaluation transform included, into the vector that the augmentation encoder receives;
`uniclip.augmentation.apply` applies them to pixels. Parameters are drawn by key and sample id,
independently of the images. The order of operations is fixed: crop and resize, flip, brightness,
contrast, saturation, hue, greyscale, blur.

The policies are those of SLIP (Mu et al., 2022: weak, only a crop) and MoCo v2 (Chen et al., 2020:
strong); SLIP crops its strong views down to an area of 0.08. Our own choices: some views are
exactly the evaluation transform; crops are drawn without rejection; the order of the colour jitter
is fixed; the width of the blur is a fraction of the image, the same at 32 and at 224 px.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uniclip import rng

Float32 = NDArray[np.float32]

VECTOR_COLUMNS = (
    "area", "aspect", "x", "y", "flip",
    "jittered", "brightness", "contrast", "saturation", "hue",
    "grey", "blurred", "sigma",
)  # fmt: skip
"""Names of the columns of the vector: the fields of `AugmentationParams`."""

VECTOR_DIM = len(VECTOR_COLUMNS)

TRANSFORM_GROUPS: dict[str, tuple[int, ...]] = {
    "crop": (0, 1, 2, 3),
    "flip": (4,),
    "jitter": (5, 6, 7, 8, 9),
    "grey": (10,),
    "blur": (11, 12),
}
"""Operation -> indices of its columns in the vector."""


@dataclass(frozen=True)
class AugmentationParams:
    """Parameters of n images: each field is (n,) float32, 0 (area: 1) for no change."""

    area: Float32
    """Area of the crop box, as a fraction of the image (of a photograph: of its largest square);
    above 1 zooms out (repeats the border)."""
    aspect: Float32
    """Log of width over height of the box."""
    x: Float32
    """Horizontal centre of the box within its slack: -1 left, 0 centred (or no slack), 1 right."""
    y: Float32
    """Vertical centre of the box within its slack: -1 top, 1 bottom."""
    flip: Float32
    """1 = mirrored horizontally."""
    jittered: Float32
    """1 = colours jittered."""
    brightness: Float32
    """Log factor."""
    contrast: Float32
    """Log factor."""
    saturation: Float32
    """Log factor."""
    hue: Float32
    """Rotation of the hue, as a fraction of the circle, -1/2 .. 1/2."""
    grey: Float32
    """1 = converted to greyscale."""
    blurred: Float32
    """1 = blurred."""
    sigma: Float32
    """Standard deviation of the blur, as a fraction of the side of the view."""

    def __len__(self) -> int:
        return len(self.area)

    def __getitem__(self, index: NDArray[np.int64] | slice) -> AugmentationParams:
        """Return the parameters of the images at `index`."""
        return AugmentationParams(*(getattr(self, f.name)[index] for f in fields(self)))


def build_params(n: int, **columns: ArrayLike) -> AugmentationParams:
    """Return the parameters of n images from some columns (n,); the other fields change nothing."""
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
    """Return the fields area, aspect, x and y of boxes on the unit square, each (n,)."""
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
    # Slack below a millionth of the image is rounding error: such a box counts as centred.
    return np.where(slack > 1e-6, shift / np.maximum(slack, 1e-6), 0.0)


# ---- sampling -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class AugmentationPolicy:
    """The distribution of one kind of view."""

    min_crop_scale: float
    """Smallest area of a crop; the largest is 1."""
    flip_prob: float = 0.0
    """Probability of a horizontal flip."""
    jitter_prob: float = 0.0
    """Probability of colour jitter."""
    grayscale_prob: float = 0.0
    """Probability of conversion to greyscale."""
    blur_prob: float = 0.0
    """Probability of blur."""


WEAK_POLICY = AugmentationPolicy(min_crop_scale=0.5)
STRONG_POLICY = AugmentationPolicy(
    min_crop_scale=0.2, flip_prob=0.5, jitter_prob=0.8, grayscale_prob=0.2, blur_prob=0.5
)

MAX_LOG_ASPECT = math.log(4 / 3)
"""Largest absolute log aspect of a crop."""
JITTER_FACTOR_RANGE = (0.6, 1.4)
"""Range of the factors of brightness, contrast and saturation."""
MAX_HUE_SHIFT = 0.1
"""Largest rotation of the hue in either direction, as a fraction of the circle."""
BLUR_SIGMA_RANGE = (0.1 / 224, 2.0 / 224)
"""Range of the standard deviation of the blur: 0.1 to 2 px at 224 px, as published."""


def build_evaluation_params(n: int) -> AugmentationParams:
    """Return the evaluation transform of n images: the whole image, resized."""
    return build_params(n)


def sample_weak(key: int, ids: rng.UInt64, identity_prob: float = 0.1) -> AugmentationParams:
    """Sample weak views of `ids` (n,): RandomResizedCrop(0.5, 1)."""
    return sample_params(WEAK_POLICY, key, ids, identity_prob)


def sample_strong(
    key: int,
    ids: rng.UInt64,
    identity_prob: float = 0.1,
    min_crop_scale: float = STRONG_POLICY.min_crop_scale,
) -> AugmentationParams:
    """Sample strong views of `ids` (n,).

    RandomResizedCrop(min_crop_scale, 1), flip, colour jitter, greyscale and blur.
    """
    return sample_params(
        replace(STRONG_POLICY, min_crop_scale=min_crop_scale), key, ids, identity_prob
    )


def sample_params(
    policy: AugmentationPolicy, key: int, ids: rng.UInt64, identity_prob: float
) -> AugmentationParams:
    """Sample views by `policy`.

    The log aspect is uniform over the range in which a box of the drawn area fits the image;
    torchvision redraws until a box fits and falls back to a centre crop.

    Args:
        policy: The distribution of the views.
        key: Key of the random stream.
        ids: (n,) uint64 sample ids.
        identity_prob: Probability that a view is exactly the evaluation transform.
    """
    draws = rng.uniform(key, ids, 14).T
    is_augmented = draws[0] >= identity_prob
    crop_area = np.where(
        is_augmented, policy.min_crop_scale + (1 - policy.min_crop_scale) * draws[1], 1.0
    )
    is_jittered = is_augmented & (draws[6] < policy.jitter_prob)
    is_blurred = is_augmented & (draws[12] < policy.blur_prob)

    def scale_draw(low: float, high: float, column: int) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = low + (high - low) * draws[column]
        return scaled

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


# ---- encoding -----------------------------------------------------------------------------------


def encode_as_vector(params: AugmentationParams) -> Float32:
    """Return the augmentation vectors, (n, VECTOR_DIM) float32; exactly 0 for no change.

    Each column is divided by its standard deviation under the strong policy without identity views,
    in closed form (`COLUMN_STD`). Beyond four standard deviations, which the policies never reach
    but other parameters may (a rotation of the hue by half a circle), a column grows like a
    logarithm, so that one rare operation does not dominate. The crop box is encoded by area, aspect
    and position within its slack, not by its size in the source image, which would reveal the
    aspect of the image.
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
    """Return the standard deviation of each column under `STRONG_POLICY`."""

    def bernoulli_std(prob: float) -> float:
        return math.sqrt(prob * (1 - prob))

    def gated_std(prob: float, mean: float, second_moment: float) -> float:
        """Return the deviation of a variable with these moments times a Bernoulli variable."""
        return math.sqrt(prob * second_moment - (prob * mean) ** 2)

    def compute_log_moments(low: float, high: float) -> tuple[float, float]:
        """Return E[log t] and E[log^2 t] for t uniform between low and high."""

        def integrate_log(t: float) -> float:
            return t * math.log(t) - t

        def integrate_log_squared(t: float) -> float:
            return t * math.log(t) ** 2 - 2 * integrate_log(t)

        area_range = high - low
        return (integrate_log(high) - integrate_log(low)) / area_range, (
            integrate_log_squared(high) - integrate_log_squared(low)
        ) / area_range

    area_range = 1 - STRONG_POLICY.min_crop_scale
    # At larger areas the image, not MAX_LOG_ASPECT, limits the aspect.
    max_unbounded_area = math.exp(-MAX_LOG_ASPECT)
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
"""(VECTOR_DIM,) float64: divisors of the columns of the vector."""
