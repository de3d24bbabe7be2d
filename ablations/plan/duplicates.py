"""Arms that are one run under what was asked for: a difference of theirs is 0, and no finding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from uniclip.store import Cell, Contrast, Expectation


def find(cells: Sequence[Cell]) -> dict[str, str]:
    """Each arm whose runs are those of an earlier one -> that one."""
    first: dict[str, str] = {}
    return {c.arm: one for c in cells if (one := first.setdefault(c.run, c.arm)) != c.arm}


def said(twins: Mapping[str, str]) -> list[str]:
    """A line for the reader about each of them."""
    return [f"arms {b} and {a} are one run here: nothing compares them" for a, b in twins.items()]


def telling(
    contrasts: Sequence[Contrast], twins: Mapping[str, str], expected: Sequence[Expectation]
) -> tuple[Contrast, ...]:
    """The contrasts but those of runs with themselves, unless one is expected to be exactly 0."""
    declared = {e.contrast for e in expected if e.kind == "exactly_zero"}
    return tuple(c for c in contrasts if c.name in declared or _tells(c, twins))


def _tells(contrast: Contrast, twins: Mapping[str, str]) -> bool:
    weights: dict[str, float] = defaultdict(float)
    for arm, weight in contrast.weights.items():
        weights[twins.get(arm, arm)] += weight
    return any(weights.values())
