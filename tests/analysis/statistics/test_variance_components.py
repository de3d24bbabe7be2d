"""Components of variance: exact on small tables, right on average, and covered by intervals."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.statistics.effects import Observations
from analysis.statistics.variance_components import estimate_variance_components

STREAMS = ("a", "b", "c")
SOURCES = ("initial_weights", "draws", "rounding")


def observe(columns):
    seeds = tuple(range(len(next(iter(columns.values())))))
    values = {arm: dict(zip(seeds, map(float, column))) for arm, column in columns.items()}
    return Observations(seeds=seeds, values=values)


def simulate(rng, sds, num_seeds=6):
    weights_sd, draws_sd, rounding_sd = sds
    weights = rng.normal(0, weights_sd, num_seeds)
    draws = rng.normal(0, draws_sd, (num_seeds, 3))
    rounding = rng.normal(0, rounding_sd, (num_seeds, 4))
    columns = {arm: weights + draws[:, i] + rounding[:, i] for i, arm in enumerate(STREAMS)}
    return observe({**columns, "perturbed": weights + draws[:, 0] + rounding[:, 3]})


def test_a_table_by_hand():
    """Means of seeds 1, 3, 5; each seed's streams differ by 2, and rounding by 0.2."""
    observations = observe({"a": [0, 2, 4], "b": [2, 4, 6], "perturbed": [0.2, 2.2, 4.2]})
    components = estimate_variance_components(observations, ("a", "b"), "perturbed")
    # Mean squares: between 2 * 4 = 8, within 2, rounding 0.02.
    variances = {c.source: c.variance for c in components}
    assert variances == pytest.approx({"initial_weights": 3, "draws": 1.98, "rounding": 0.02})
    with_rounding = estimate_variance_components(observations, ("a", "b"))
    assert {c.source: c.variance for c in with_rounding} == pytest.approx(
        {"initial_weights": 3, "draws": 2}
    )


@pytest.mark.parametrize("sds", [(1.0, 0.5, 0.1), (0.0, 1.0, 1.0)])
def test_estimates_and_coverage(sds):
    rng = np.random.Generator(np.random.Philox(key=1))
    repeats = 400
    found = [
        {
            c.source: c
            for c in estimate_variance_components(simulate(rng, sds), STREAMS, "perturbed")
        }
        for _ in range(repeats)
    ]
    for source, sd in zip(SOURCES, sds):
        components = [f[source] for f in found]
        covered = np.mean([c.low <= sd**2 <= c.high for c in components])
        assert covered > 0.93, source
        if sd:
            assert np.median([c.variance for c in components]) == pytest.approx(sd**2, rel=0.45)


def test_a_missing_run_drops_its_seed_and_two_seeds_are_too_few():
    columns = {"a": [0, 2, 4], "b": [2, 4, 6]}
    observations = observe(columns)
    del observations.values["b"][2]
    assert estimate_variance_components(observations, ("a", "b")) == []
    assert estimate_variance_components(observe(columns), ("a",)) == []


def test_items_are_the_variance_of_a_mean():
    outcomes = {s: np.array([1.0, 0.0, 0.0, 1.0]) for s in range(3)}
    observations = observe({"a": [0.5] * 3, "b": [0.5] * 3})
    items = estimate_variance_components(observations, ("a", "b"), None, outcomes)[-1]
    assert items.source == "items"
    assert items.variance == pytest.approx(1 / 3 / 4)
    assert items.sd == pytest.approx((1 / 12) ** 0.5)


def test_items_of_a_cluster_are_not_independent():
    """Two clusters of equal outcomes: the variance is that of a mean of two."""
    outcomes = {s: np.array([1.0, 1.0, 0.0, 0.0]) for s in range(3)}
    observations = observe({"a": [0.5] * 3, "b": [0.5] * 3})
    clusters = np.array([4, 4, 7, 7])
    items = estimate_variance_components(observations, ("a", "b"), None, outcomes, clusters)[-1]
    assert items.variance == pytest.approx(0.5 / 2)
    assert items.degrees_of_freedom == 1
    others = estimate_variance_components(observations, ("a", "b"), None, outcomes, clusters[:3])
    assert "items" not in [c.source for c in others], "whose clusters these are is not known"
