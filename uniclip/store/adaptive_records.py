"""The record of a sweep whose number of seeds is decided while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AdaptiveRule:
    """How the cells of a sweep are bought (`seeds=adaptive`), fixed before its first cell.

    With the looks, margins, primary scores and primary contrasts of the plan it determines the next
    cells from the scores of the finished ones (`analysis.statistics.purchases`).
    """

    initial_seeds: dict[str, int]
    """Arm -> seeds that it has at first."""
    max_seeds: int
    """Seeds that no arm exceeds."""
    max_gpu_hours: float | None = None
    """GPU-hours of all cells together, at the prices of `CellPrices`; None for no limit."""
    digest: str = ""
    """Hash of the whole rule: also of looks, margins, scores and contrasts with their weights."""


@dataclass(frozen=True, kw_only=True)
class CellPrices:
    """What a cell of each arm costs, as it is reckoned in purchases; written once."""

    gpu_hours: dict[str, float]
    """Arm -> GPU-hours of one of its cells; of one worker where there is no GPU."""
    source: str = ""
    """Where they are from, such as "past runs"."""
