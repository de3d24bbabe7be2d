"""Contrastive vision-language pre-training whose components can be switched off one by one.

Importing this package imports neither torch nor pandas; `uniclip.load(run)` returns a trained
model, and `uniclip.open_store(folder)` the records of a store as data frames.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uniclip.checkpoints.load import load as load
    from uniclip.frames.store_frames import open_store as open_store

__all__ = ["load", "open_store"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from uniclip.checkpoints.load import load

        return load
    if name == "open_store":
        from uniclip.frames.store_frames import open_store

        return open_store
    raise AttributeError(f"module 'uniclip' has no attribute {name!r}")
