"""Scenes with chosen attributes, and their damaged views."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from uniclip import data
from uniclip.augmentation.transform import AugmentationParams
from uniclip.config import RedrawProbabilities, ScenesData
from uniclip.data.scenes import attributes, draw
from uniclip.data.scenes.split import sample_attributes

IDS = np.arange(20_000, dtype=np.uint64)


def draw_scenes_with(n: int = 64, **values: str) -> NDArray[np.uint8]:
    """Return n images with fixed values of some attributes, the others as in the test split."""
    names = list(attributes.ATTRIBUTES)
    rows = sample_attributes("test", n)
    for name, value in values.items():
        rows[:, names.index(name)] = attributes.ATTRIBUTES[name].index(value)
    return draw.draw_scenes(rows, np.arange(n, dtype=np.uint64), 32)


def sample_damage(
    kind: data.ViewKind = "weak",
    identity: float = 1.0,
    ids: NDArray[np.uint64] = IDS,
    scope: Literal["all", "strong"] = "all",
    **redraw_prob: Any,
) -> AugmentationParams:
    """Return the parameters of views with these redraw probabilities."""
    config = ScenesData(redraw_prob=RedrawProbabilities(**redraw_prob), damaged_views=scope)
    return data.sample_view(config, kind, 11, ids, identity)


def find_shapes(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where shapes are, (n, H, W): pixels brighter than any background."""
    mask: NDArray[np.bool_] = pixels.max(1) > 65
    return mask
