"""The optimizer by its name: AdamW of torch, or one of timm's factory."""

from __future__ import annotations

from typing import Any

import timm.optim
import torch

from uniclip.config import TrainConfig
from uniclip.config.schema import DEFAULT_OPTIMIZER
from uniclip.errors import UserError, make_unknown_name_error

# Any: timm does not mark what it exports.
timm_optim: Any = timm.optim

NOT_SUPPORTED = {
    "adahessian": "it needs second derivatives of the loss",
    "kron": "it compiles its steps",
    "bnb": "the package bitsandbytes has a format of its own for its state",
    "fused": "it needs NVIDIA's APEX",
}
"""Start of a name -> why the optimizer is not supported."""


def create_optimizer(groups: list[dict[str, Any]], train: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer `train.optimizer` of parameter groups, each with its weight decay.

    The fused kernel of AdamW updates each element independently: the same input gives the same
    bits.

    Raises:
        UserError: timm has no such optimizer, it is not supported, or the options do not suit it.
    """
    options: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in train.optimizer_options.items()
    }
    try:
        if train.optimizer == DEFAULT_OPTIMIZER:
            betas, eps = train.adam_betas, train.adam_eps
            settings: dict[str, Any] = {"lr": train.learning_rate, "betas": betas, "eps": eps}
            return torch.optim.AdamW(groups, **{**settings, "fused": True, **options})
        require_optimizer(train.optimizer)
        # Each group states its own weight decay.
        optimizer: torch.optim.Optimizer = timm_optim.create_optimizer_v2(
            groups, train.optimizer, train.learning_rate, train.weight_decay, **options
        )
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"train.optimizer_options do not suit train.optimizer={train.optimizer}: "
            + " ".join(str(error).split())[:200]
        ) from error
    return optimizer


def require_optimizer(name: str) -> None:
    """Raise `UserError` unless timm has an optimizer of this name that training can use."""
    reason = next((r for start, r in NOT_SUPPORTED.items() if name.startswith(start)), None)
    names: list[str] = timm_optim.list_optimizers()
    if name not in names:
        supported = [n for n in names if not n.startswith(tuple(NOT_SUPPORTED))]
        raise make_unknown_name_error("train.optimizer", name, supported)
    if reason is not None:
        raise UserError(f"train.optimizer={name} is not supported: {reason}")
