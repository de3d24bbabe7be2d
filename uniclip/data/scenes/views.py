"""Views of scenes: mild nuisance, and damage that makes one attribute look like another value.

Each dial of `config.Deltas` is the probability that one operation is drawn anew among its values,
"nothing" among them, without a look at the picture; so a vector tells what was done and never what
was there.

| dial | its values | what it misaligns |
|---|---|---|
| side | mirrored or not: flipped with delta/2 | side, exactly: a flipped left is a right |
| hue | turned by a multiple of 60 degrees | colour, among the six hues |
| grey | without colour or not | colour, hue for grey |
| zoom | out, none or in, by the ratio of the sizes | size: the looks small and large |
| crop | none, the upper row cut away, or the lower | count: three to two, two to one |
| blur | blurred or not | texture: stripes are gone |

Mild nuisance (a box of 0.97 to 1 of the side, a little brightness, in strong views contrast too)
changes no attribute. Views that are the evaluation's drop it, and are damaged like any other.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.augmentation import transform
from uniclip.augmentation.transform import AugmentationParams
from uniclip.config import ScenesData
from uniclip.data.scenes.draw import REFERENCE_SIZE, ROW_SPACING, SIZE_RATIO

Float64 = NDArray[np.float64]

MAX_MILD_CROP = 0.03
"""Largest part of the side that mild nuisance cuts off."""
MAX_LOG_FACTOR = {"weak": 0.05, "strong": 0.1}
"""Largest log factor of brightness and, in strong views, contrast."""
BLUR_SIGMA = 1.6 / REFERENCE_SIZE
"""Standard deviation of the blur, in sides: a stripe's contrast falls to a few percent."""


def sample_scene_view(
    config: ScenesData,
    kind: Literal["weak", "strong", "evaluation"],
    key: int,
    ids: rng.UInt64,
    identity_prob: float,
) -> AugmentationParams:
    """One view of each of the samples `ids` (n,), damaged where `config.scope` says so."""
    if kind == "evaluation":
        return transform.build_evaluation_params(len(ids))
    applies_damage = config.damaged_views == "all" or kind == "strong"
    delta = config.redraw_prob

    def draw_operation(operation: str, num_values: int) -> NDArray[np.int64]:
        """0 (nothing) or, with probability delta, any of 0 .. values - 1."""
        draws = rng.uniform(rng.derive_key(key, "damage", operation), ids, 2)
        is_redrawn = draws[:, 0] < (getattr(delta, operation) if applies_damage else 0.0)
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
    """The box on the unit canvas: zoomed and shifted a little, then cut between two rows."""
    side = 1 - MAX_MILD_CROP * mild_draws[1] * has_mild_nuisance
    shift = (2 * mild_draws[2:4] - 1) * (1 - side) / 2
    extent = side * np.array([1.0, SIZE_RATIO, 1 / SIZE_RATIO])[zoom]
    left, top = 0.5 + shift - extent / 2
    bottom = top + extent
    half_row_spacing = 0.5 * ROW_SPACING / REFERENCE_SIZE
    top = np.where(crop == 1, 0.5 - half_row_spacing, top)
    bottom = np.where(crop == 2, 0.5 + half_row_spacing, bottom)
    return transform.compute_box_columns(left, top, extent, bottom - top)
