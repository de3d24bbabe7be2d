"""The variance of the primary score by its source, for a sweep with both kinds of A/A arms."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.statistics.effects import Floats, Observations
from analysis.statistics.item_clusters import Clusters
from analysis.statistics.variance_components import (
    VarianceComponent,
    estimate_variance_components,
)
from uniclip.store import Plan

STREAM_KEY, PERTURBATION_KEY = "stream", "train.weight_perturbation"


def analyze_variance(
    plan: Plan,
    observations: Observations,
    outcomes: Mapping[str, Mapping[int, Floats]],
    clusters: Clusters | None = None,
) -> list[VarianceComponent]:
    """Return the variance of the reference arm's score by source.

    It is empty unless the plan has an A/A arm with other random draws and one with perturbed
    initial weights.

    Args:
        plan: The plan.
        observations: The values of the primary score.
        outcomes: Arm -> seed -> outcomes of the test items, shape (n,); their mean is the score.
        clusters: The cluster (n,) of each item; None = each is its own.
    """
    reference = plan.get_arm(plan.reference)
    arms_by_key: dict[str, list[str]] = {STREAM_KEY: [], PERTURBATION_KEY: []}
    for arm in plan.arms:
        values = (arm.config_diff, reference.config_diff)
        changed = [k for k in {**values[0], **values[1]} if values[0].get(k) != values[1].get(k)]
        if arm.role == "noise" and len(changed) == 1 and changed[0] in arms_by_key:
            arms_by_key[changed[0]].append(arm.name)
    if not all(arms_by_key.values()):
        return []
    return estimate_variance_components(
        observations,
        [reference.name, *arms_by_key[STREAM_KEY]],
        arms_by_key[PERTURBATION_KEY][0],
        outcomes.get(reference.name),
        clusters,
    )
