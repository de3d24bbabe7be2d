"""The ways in which UniCLIP's image head can combine image and augmentation.

How the paper combines them is not known to us, so each is a candidate (our reconstruction). The
configuration and the head itself (`uniclip.models.heads`) read this module. It does not import
torch, so that configurations can be checked without it.
"""

from __future__ import annotations

from typing import Literal

from uniclip.errors import UserError

Fusion = Literal["film", "cosine", "product", "product_concat", "concat"]
"""Feature-wise linear modulation, the same with a cosine in place of 1 + gamma, a low-rank product,
the same with concatenation, or concatenation alone."""

MODULATION_INIT_GAINS: dict[str, float] = {
    "film": 6.0,
    "cosine": 1.0,
    "product": 1.0,
    "product_concat": 1.0,
}
"""Fusion -> default of `method.modulation_init_gain`. "concat" has no modulation."""


def normalize_modulation_gain(fusion: Fusion, gain: float | None) -> float | None:
    """Return None for the default gain of a fusion: equal settings are one run.

    Raises:
        UserError: the fusion has no modulation, or it would never be trained.
    """
    if gain is None or gain == MODULATION_INIT_GAINS.get(fusion):
        return None
    if fusion not in MODULATION_INIT_GAINS:
        raise UserError(
            f"method.fusion={fusion} has no modulation: leave out modulation_init_gain={gain:g}"
        )
    if fusion == "cosine" and gain == 0:
        raise UserError(
            "method.modulation_init_gain=0: with fusion=cosine gamma would stay 0, because the "
            "slope of the cosine is 0 there; use a small gain such as 0.1"
        )
    return gain


def check_modulation_lr(fusion: Fusion, multiplier: float) -> None:
    """Raise `UserError` for a learning rate of a modulation that there is not."""
    if fusion not in MODULATION_INIT_GAINS and multiplier != 1:
        raise UserError(
            f"method.fusion={fusion} has no modulation: leave out modulation_lr_mult={multiplier:g}"
        )
