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
from uniclip.augmentation.transform import Transform
from uniclip.config import ScenesData
from uniclip.data.scenes.draw import ROW, UNIT, ZOOM

Float64 = NDArray[np.float64]

MILD = 0.03
"""Largest part of the side that mild nuisance cuts off."""
BRIGHTNESS = {"weak": 0.05, "strong": 0.1}
"""Largest log factor of brightness and, in strong views, contrast."""
BLUR = 1.6 / UNIT
"""Standard deviation of the blur, in sides: a stripe's contrast falls to a few percent."""


def views(
    config: ScenesData,
    kind: Literal["weak", "strong", "evaluation"],
    key: int,
    ids: rng.UInt64,
    identity: float,
) -> Transform:
    """One view of each of the samples `ids` (n,), damaged where `config.scope` says so."""
    if kind == "evaluation":
        return transform.evaluation(len(ids))
    damaged = config.scope == "all" or kind == "strong"
    delta = config.delta

    def drawn(name: str, values: int) -> NDArray[np.int64]:
        """0 (nothing) or, with probability delta, any of 0 .. values - 1."""
        u = rng.uniform(rng.key(key, "damage", name), ids, 2)
        anew = u[:, 0] < (getattr(delta, name) if damaged else 0.0)
        return np.where(anew, np.floor(u[:, 1] * values), 0).astype(np.int64)

    mild = rng.uniform(rng.key(key, "mild"), ids, 6).T
    kept = mild[0] >= identity
    level = BRIGHTNESS[kind]
    hue = drawn("hue", 6)
    blurred = drawn("blur", 2)
    return transform.transform(
        len(ids),
        **_box(mild, kept, drawn("zoom", 3), drawn("crop", 3)),
        flip=drawn("side", 2),
        jittered=kept | (hue > 0),
        brightness=level * (2 * mild[4] - 1) * kept,
        contrast=level * (2 * mild[5] - 1) * (kept & (kind == "strong")),
        hue=np.where(hue > 3, hue - 6, hue) / 6,
        grey=drawn("grey", 2),
        blurred=blurred,
        sigma=BLUR * blurred,
    )


def _box(
    mild: Float64, kept: NDArray[np.bool_], zoom: NDArray[np.int64], crop: NDArray[np.int64]
) -> dict[str, Float64]:
    """The box on the unit canvas: zoomed and shifted a little, then cut between two rows."""
    side = 1 - MILD * mild[1] * kept
    shift = (2 * mild[2:4] - 1) * (1 - side) / 2
    extent = side * np.array([1.0, ZOOM, 1 / ZOOM])[zoom]
    left, top = 0.5 + shift - extent / 2
    bottom = top + extent
    middle = 0.5 * ROW / UNIT
    top = np.where(crop == 1, 0.5 - middle, top)
    bottom = np.where(crop == 2, 0.5 + middle, bottom)
    return transform.boxed(left, top, extent, bottom - top)
