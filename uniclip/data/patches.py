"""The patches of a view that a vision Transformer sees in training (`train.patch_drop_rate`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.rng import UInt64


def count_kept_patches(num_patches: int, drop_rate: float) -> int:
    """Return how many of the patches are kept: rounded down as in timm, and at least one."""
    return max(1, int(num_patches * (1 - drop_rate)))


def draw_kept_patches(
    key: int, ids: UInt64, num_patches: int, drop_rate: float
) -> NDArray[np.int64]:
    """Return the patches that are kept of each sample's view, (n, K) int64, ascending.

    Args:
        key: Key of the random stream.
        ids: (n,) uint64; row i depends on ids[i] alone.
        num_patches: Patches of an image.
        drop_rate: Share of them that is left out.
    """
    order = np.argsort(rng.uniform(key, ids, num_patches), axis=1, kind="stable")
    kept_patches: NDArray[np.int64] = np.sort(
        order[:, : count_kept_patches(num_patches, drop_rate)]
    )
    return kept_patches
