"""The views of sources whose images need no augmentation of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from uniclip.augmentation.transform import AugmentationParams
    from uniclip.rng import UInt64

VIEWS_VERSION = 2
"""Increased when the same images and augmentation parameters give other views.

2: colors and blur in integers; views of photographs are cropped from the photograph itself.
"""

ViewKind = Literal["weak", "strong", "evaluation"]


def sample_view(
    config: object,
    kind: ViewKind,
    key: int,
    ids: UInt64,
    identity_prob: float,
    min_crop_scale: float,
) -> AugmentationParams:
    """Return the parameters of one view, by the policies of `uniclip.augmentation.transform`.

    Args:
        config: A data section; not used.
        kind: Weak, strong, or the evaluation transform.
        key: Key of the random stream.
        ids: (n,) uint64.
        identity_prob: Probability that a view is the evaluation transform.
        min_crop_scale: Smallest area of a strong crop.
    """
    from uniclip.augmentation import transform  # imports numpy: see `uniclip.data`

    if kind == "evaluation":
        return transform.build_evaluation_params(len(ids))
    if kind == "weak":
        return transform.sample_weak(key, ids, identity_prob)
    return transform.sample_strong(key, ids, identity_prob, min_crop_scale)
