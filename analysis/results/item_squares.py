"""Mean squares of contrasts over the test items of published data sets, from saved outcomes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from analysis.collect import literature, predictions
from analysis.collect.frame import SweepData
from analysis.statistics.item_clusters import MIN_CLUSTERS, MeanSquares, compute_mean_squares
from analysis.statistics.verdicts import ScoreKey
from uniclip.store import Contrast, Store, get_score_kind_traits

MIN_SEEDS = 2
ItemSquares = dict[ScoreKey, dict[str, MeanSquares | None]]
"""Score -> contrast -> mean squares over seeds and test items; None where outcomes are missing."""


def collect_item_squares(
    store: Store, sweep_data: SweepData, keys: Iterable[ScoreKey]
) -> ItemSquares:
    """Read the outcomes of those of the scores that may be averaged over published data sets."""
    plan = sweep_data.plan
    published = literature.list_published_datasets(plan.evaluation_hashes, ())
    if len(published) < 2:
        return {}
    collected: ItemSquares = {}
    for key in keys:
        is_ranked = get_score_kind_traits(sweep_data.get_score_kind(*key)).is_ranked
        if key[0] not in published or not is_ranked or sweep_data.is_report_only(*key):
            continue
        outcomes = predictions.load_outcomes(store, plan, *key)
        collected[key] = {c.name: _compute_item_squares(c, outcomes) for c in plan.contrasts}
    return collected


def _compute_item_squares(
    contrast: Contrast, item_outcomes: predictions.ItemOutcomes
) -> MeanSquares | None:
    """Return the mean squares of a contrast; None if outcomes are missing or do not match."""
    weights = contrast.weights
    outcomes, clusters = item_outcomes.pair(weights)
    if not all(arm in outcomes for arm in weights):
        return None
    seeds = sorted(set.intersection(*(set(outcomes[arm]) for arm in weights)))
    sizes = {len(outcomes[arm][seed]) for arm in weights for seed in seeds}
    if len(seeds) < MIN_SEEDS or len(sizes) != 1:
        return None
    num_items = sizes.pop()
    num_clusters = num_items if clusters is None else len(np.unique(clusters))
    if num_clusters < MIN_CLUSTERS or (clusters is not None and len(clusters) != num_items):
        return None
    differences = [sum(w * outcomes[arm][seed] for arm, w in weights.items()) for seed in seeds]
    return compute_mean_squares(np.stack(differences), clusters)
