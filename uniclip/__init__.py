"""Contrastive vision-language pre-training whose components can be switched off one by one.

Importing this package does not import torch; `uniclip.load(run)` returns a trained model.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uniclip.checkpoints.load import load as load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from uniclip.checkpoints.load import load

        return load
    raise AttributeError(f"module 'uniclip' has no attribute {name!r}")
