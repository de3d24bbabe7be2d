"""Views of scenes: mild nuisance, and damage that changes one attribute into another value.

Each field of `config.RedrawProbabilities` is the probability that one operation is redrawn among
its values, "nothing" among them, independently of the image. The augmentation vector therefore
describes what was done and carries no information about the content.

| operation | values | attribute that no longer matches the caption |
|---|---|---|
| side | mirrored or not: flipped with half the probability | side: a mirrored left is a right |
| hue | rotated by a multiple of 60 degrees | colour, among the six hues |
| grey | greyscale or not | colour: a hue becomes grey |
| zoom | out, none or in, by the ratio of the sizes | size: small and large |
| crop | none, the upper row cut off, or the lower | count: three to two, two to one |
| blur | blurred or not | texture: stripes vanish |

Mild nuisance (a crop of 0.97 to 1 of the side, small changes of brightness, and of contrast in
strong views) changes no attribute. Identity views omit it; they are damaged like any other view.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.augmentation import transform
from uniclip.augmentation.transform import AugmentationParams
from uniclip.config import ScenesData
from uniclip.data.scenes.draw import REFERENCE_SIZE, ROW_SPACING, SIZE_RATIO
from uniclip.data.views import ViewKind

Float64 = NDArray[np.float64]

MAX_MILD_CROP = 0.03
"""Largest fraction of the side that mild nuisance cuts off."""
MAX_LOG_FACTOR = {"weak": 0.05, "strong": 0.1}
"""Largest log factor of brightness and, in strong views, contrast."""
BLUR_SIGMA = 1.6 / REFERENCE_SIZE
"""Standard deviation of the blur, as a fraction of the side; stripes keep a few percent of their
contrast."""


def sample_scene_view(
    config: ScenesData,
    kind: ViewKind,
    key: int,
    ids: rng.UInt64,
    identity_prob: float,
) -> AugmentationParams:
    """Return the parameters of one view of the samples `ids` (n,), damaged as `config` says."""
    if kind == "evaluation":
        return transform.build_evaluation_params(len(ids))
    applies_damage = config.damaged_views == "all" or kind == "strong"
    redraw_prob = config.redraw_prob

    def draw_operation(operation: str, num_values: int) -> NDArray[np.int64]:
        """Return 0 (nothing) or, with the redraw probability, any of 0 .. num_values - 1."""
        draws = rng.uniform(rng.derive_key(key, "damage", operation), ids, 2)
        is_redrawn = draws[:, 0] < (getattr(redraw_prob, operation) if applies_damage else 0.0)
        return np.where(is_redrawn, np.floor(draws[:, 1] * num_values), 0).astype(np.int64)

    mild_draws = rng.uniform(rng.derive_key(key, "mild"), ids, 6).T
    has_mild_nuisance = mild_draws[0] >= identity_prob
    max_log_factor = MAX_LOG_FACTOR[kind]
    hue_steps = draw_operation("hue", 6)
    is_blurred = draw_operation("blur", 2)
    return transform.build_params(
        len(ids),
        **_compute_crop_box(
            mild_draws, has_mild_nuisance, draw_operation("zoom", 3), draw_operation("crop", 3)
        ),
        flip=draw_operation("side", 2),
        jittered=has_mild_nuisance | (hue_steps > 0),
        brightness=max_log_factor * (2 * mild_draws[4] - 1) * has_mild_nuisance,
        contrast=max_log_factor
        * (2 * mild_draws[5] - 1)
        * (has_mild_nuisance & (kind == "strong")),
        hue=np.where(hue_steps > 3, hue_steps - 6, hue_steps) / 6,
        grey=draw_operation("grey", 2),
        blurred=is_blurred,
        sigma=BLUR_SIGMA * is_blurred,
    )


def _compute_crop_box(
    mild_draws: Float64,
    has_mild_nuisance: NDArray[np.bool_],
    zoom: NDArray[np.int64],
    crop: NDArray[np.int64],
) -> dict[str, Float64]:
    """Return the columns of the crop box: zoomed, shifted a little, then cut between two rows."""
    side = 1 - MAX_MILD_CROP * mild_draws[1] * has_mild_nuisance
    shift = (2 * mild_draws[2:4] - 1) * (1 - side) / 2
    extent = side * np.array([1.0, SIZE_RATIO, 1 / SIZE_RATIO])[zoom]
    left, top = 0.5 + shift - extent / 2
    bottom = top + extent
    half_row_spacing = 0.5 * ROW_SPACING / REFERENCE_SIZE
    top = np.where(crop == 1, 0.5 - half_row_spacing, top)
    bottom = np.where(crop == 2, 0.5 + half_row_spacing, bottom)
    return transform.compute_box_columns(left, top, extent, bottom - top)
