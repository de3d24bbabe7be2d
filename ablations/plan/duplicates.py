"""Arms that resolve to the same runs: a difference between them is 0 by construction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from uniclip.store import Cell, Contrast, PlantedEffect


def find_duplicate_arms(cells: Sequence[Cell]) -> dict[str, str]:
    """Return each arm whose runs are those of an earlier arm -> that earlier arm."""
    first_arm_by_run: dict[str, str] = {}
    return {
        c.arm: first_arm
        for c in cells
        if (first_arm := first_arm_by_run.setdefault(c.run_id, c.arm)) != c.arm
    }


def describe_duplicate_arms(duplicate_of: Mapping[str, str]) -> list[str]:
    """Return one sentence for each duplicate arm."""
    return [
        f"arms {first} and {duplicate} have the same configuration and share their runs: "
        "no contrast compares them"
        for duplicate, first in duplicate_of.items()
    ]


def select_informative_contrasts(
    contrasts: Sequence[Contrast],
    duplicate_of: Mapping[str, str],
    planted_effects: Sequence[PlantedEffect],
) -> tuple[Contrast, ...]:
    """Return the contrasts that do not cancel out because their arms share runs.

    A contrast that is declared to be exactly 0 is kept.
    """
    zero_contrasts = {e.contrast for e in planted_effects if e.kind == "exactly_zero"}
    return tuple(
        c for c in contrasts if c.name in zero_contrasts or _is_informative(c, duplicate_of)
    )


def _is_informative(contrast: Contrast, duplicate_of: Mapping[str, str]) -> bool:
    weights: dict[str, float] = defaultdict(float)
    for arm, weight in contrast.weights.items():
        weights[duplicate_of.get(arm, arm)] += weight
    return any(weights.values())
