"""The variance of a primary score by its source, for a sweep with both kinds of A/A arms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.statistics.effects import Floats, Observations
from analysis.statistics.item_clusters import Clusters
from analysis.statistics.variance_components import (
    VarianceComponent,
    estimate_variance_components,
)
from uniclip.store import Plan

STREAM_KEY, PERTURBATION_KEY = "stream", "train.weight_perturbation"


@dataclass(frozen=True)
class NoiseArms:
    """The A/A arms from which variances are estimated."""

    streams: tuple[str, ...]
    """Arms with other random draws; at least one."""
    perturbed: str
    """An arm with perturbed initial weights."""


def find_noise_arms(plan: Plan) -> NoiseArms | None:
    """Return the A/A arms; None unless the plan has both kinds."""
    reference = plan.get_arm(plan.reference)
    arms_by_key: dict[str, list[str]] = {STREAM_KEY: [], PERTURBATION_KEY: []}
    for arm in plan.arms:
        values = (arm.config_diff, reference.config_diff)
        changed = [k for k in {**values[0], **values[1]} if values[0].get(k) != values[1].get(k)]
        if arm.role == "noise" and len(changed) == 1 and changed[0] in arms_by_key:
            arms_by_key[changed[0]].append(arm.name)
    if not all(arms_by_key.values()):
        return None
    return NoiseArms(tuple(arms_by_key[STREAM_KEY]), arms_by_key[PERTURBATION_KEY][0])


def analyze_variance(
    plan: Plan,
    observations: Observations,
    outcomes: Mapping[str, Mapping[int, Floats]],
    clusters: Clusters | None = None,
) -> list[VarianceComponent]:
    """Return the variance of the reference arm's score by source; empty without both A/A arms.

    Args:
        plan: The plan.
        observations: The values of a primary score.
        outcomes: Arm -> seed -> outcomes of the test items, shape (n,); their mean is the score.
        clusters: The cluster (n,) of each item; None = each is its own.
    """
    noise_arms = find_noise_arms(plan)
    if noise_arms is None:
        return []
    return estimate_variance_components(
        observations,
        [plan.reference, *noise_arms.streams],
        noise_arms.perturbed,
        outcomes.get(plan.reference),
        clusters,
    )
