"""Baselines: the arms that the reference arm of a sweep is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.statistics.effects import Observations
from analysis.statistics.verdicts import DeclaredComparison
from uniclip.store import Plan


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An arm that the reference arm is compared with."""

    arm: str
    mean: float
    comparison: DeclaredComparison | None
    """Reference minus baseline on the score; None if no contrast compares these two."""


def list_baselines(
    plan: Plan,
    observations: Observations,
    declared: Mapping[tuple[str, str], DeclaredComparison],
) -> list[Baseline]:
    """Return the arms that the reference arm is compared with, best first.

    In a crossed design these are all other arms (outside baselines, and arms with components off)
    but those of other settings; in a listed design, the arms with a negative weight in a contrast.
    """
    no_baselines = {plan.reference, *(a.name for a in plan.arms if a.role in ("noise", "setting"))}
    reference = plan.get_arm(plan.reference)
    negative_arms = {a for c in plan.contrasts for a in c.arms_by_sign[1]}
    baselines = []
    for arm in plan.arms:
        mean = observations.compute_mean(arm.name)
        is_baseline = reference.role == "crossed" or arm.name in negative_arms
        if is_baseline and arm.name not in no_baselines and mean is not None:
            comparison = declared.get((reference.name, arm.name))
            baselines.append(Baseline(arm=arm.name, mean=mean, comparison=comparison))
    return sorted(baselines, key=lambda b: b.mean, reverse=observations.higher_is_better)
