"""Where runs come from that were merged into a store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RunOrigin:
    """A finished run of another store or bundle, when it was merged into this one."""

    run: str
    origin: str
    """Name of the other store or bundle."""
    copied: bool
    """Whether the run was taken from there; else this store had it already."""
    agreement: str
    """How its result agrees with the one that this store had; "" if it had none."""
    largest_difference: float = 0.0
    """Largest absolute difference of a score that is a fraction."""
