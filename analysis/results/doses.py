"""Dose curves of a sweep: the scores of each dose of a component, and their trend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.results.shapley import find_complete_seeds
from analysis.statistics.dose_trends import DoseTrend, estimate_dose_trend
from analysis.statistics.effects import Observations
from uniclip.store import Plan


@dataclass(frozen=True, kw_only=True)
class DoseCurve:
    """The doses of one component on one score."""

    component: str
    doses: tuple[float, ...]
    """Increasing; the first is 0 (off), the last the full dose."""
    arms: tuple[str, ...]
    """The arm of each dose."""
    seeds: tuple[int, ...]
    """Seeds that all of these arms completed."""
    trend: DoseTrend | None
    """None without a complete seed."""


def list_dose_arms(plan: Plan, component: str) -> dict[float, str]:
    """Return dose -> arm for a component of a dose design, doses increasing."""
    full_dose = next(c.full_dose for c in plan.components if c.name == component)
    arms: dict[float, str] = {}
    for arm in plan.arms:
        if component in arm.doses:
            arms[arm.doses[component]] = arm.name
        elif arm.role == "crossed" and not arm.doses:
            off = [name for name, on in arm.levels.items() if not on]
            if off == [component]:
                arms[0.0] = arm.name
            elif not off:
                arms[full_dose] = arm.name
    return dict(sorted(arms.items()))


def analyze_doses(plan: Plan, observations: Observations) -> list[DoseCurve]:
    """Return the curve of each component whose trend is a contrast of the plan."""
    curves = []
    for contrast in plan.contrasts:
        if contrast.kind != "trend" or contrast.component is None:
            continue
        arms = {
            dose: arm
            for dose, arm in list_dose_arms(plan, contrast.component).items()
            if arm in contrast.weights
        }
        seeds = find_complete_seeds(arms.values(), observations)
        table = np.array([[observations.values[a][s] for a in arms.values()] for s in seeds])
        curves.append(
            DoseCurve(
                component=contrast.component,
                doses=tuple(arms),
                arms=tuple(arms.values()),
                seeds=tuple(seeds),
                trend=estimate_dose_trend(table) if seeds else None,
            )
        )
    return curves
