"""Coverage: how often the intervals that a report or a plan prints contain the true value."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.statistics.effects import Observations, paired_t
from analysis.statistics.item_clusters import estimate_two_way
from analysis.statistics.power import estimate_mde, standardized_mde
from analysis.statistics.variance_components import estimate_variance_components
from tests.simulations.proportions import Rate
from tests.simulations.verdict_rates import Floats

EFFECT = 0.3
"""Of a simulated contrast over test samples in clusters."""
STREAMS = ("first", "second", "third")
VARIANCES = {"initial_weights": 1.0, "draws": 1.5, "rounding": 0.5}
"""Source -> its variance in the simulated anatomy of a score; "draws" are without rounding."""


def simulate_contrast_interval(g: np.random.Generator, num_seeds: int, sweeps: int) -> Rate:
    """Return how often the interval of a contrast over seeds contains its effect, which is 2."""
    mean, half_width, _, _ = paired_t(2 + g.normal(size=(sweeps, num_seeds)))
    return Rate(int((abs(mean - 2) <= half_width).sum()), sweeps)


def simulate_mde_interval(
    g: np.random.Generator, num_seeds: int, level: float, sweeps: int
) -> Rate:
    """Return how often the interval of an MDE contains the MDE of the true spread."""
    truth, covered = standardized_mde(num_seeds, level), 0
    for spread in g.normal(size=(sweeps, num_seeds)).std(1, ddof=1).tolist():
        mde = estimate_mde(spread, num_seeds - 1, num_seeds, level)
        covered += mde.low <= truth <= mde.high
    return Rate(covered, sweeps)


def draw_clustered_contrast(
    g: np.random.Generator, num_clusters: int, num_seeds: int, seed_sd: float = 0.05
) -> tuple[Floats, Floats]:
    """Return a contrast of `EFFECT` (seeds, n) of fresh seeds, and the cluster (n,) of each sample.

    Clusters are fresh, too, and have one to about thirty samples.
    """
    sizes = g.geometric(0.5, num_clusters)
    sizes += (g.random(num_clusters) < 0.05) * g.integers(5, 30, num_clusters)
    clusters = np.repeat(np.arange(num_clusters), sizes)
    differences = (
        EFFECT
        + seed_sd * g.normal(size=(num_seeds, 1))
        + 0.5 * g.normal(size=num_clusters)[clusters]
        + 0.2 * g.normal(size=(num_seeds, num_clusters))[:, clusters]
        + 0.5 * g.normal(size=(num_seeds, len(clusters)))
    )
    return differences, clusters


def simulate_test_set_interval(
    g: np.random.Generator, num_clusters: int, num_seeds: int, sweeps: int
) -> Rate:
    """Return how often the interval for new seeds and test samples contains the effect."""
    covered = 0
    for _ in range(sweeps):
        uncertainty = estimate_two_way(*draw_clustered_contrast(g, num_clusters, num_seeds))
        assert uncertainty is not None
        assert uncertainty.low is not None
        assert uncertainty.high is not None
        covered += uncertainty.low <= EFFECT <= uncertainty.high
    return Rate(covered, sweeps)


def simulate_anatomy(
    g: np.random.Generator, num_seeds: int, num_streams: int, sweeps: int
) -> Iterator[tuple[str, Rate]]:
    """Yield source -> how often the interval of its variance contains the true one."""
    covered = dict.fromkeys(VARIANCES, 0)
    streams = STREAMS[:num_streams]
    for _ in range(sweeps):
        weights = g.normal(0, VARIANCES["initial_weights"] ** 0.5, (num_seeds, 1))
        draws = g.normal(0, VARIANCES["draws"] ** 0.5, (num_seeds, num_streams))
        noise = g.normal(0, VARIANCES["rounding"] ** 0.5, (num_seeds, num_streams + 1))
        table = weights + draws + noise[:, 1:]
        perturbed = table[:, 0] - noise[:, 1] + noise[:, 0]
        values = {stream: dict(enumerate(table[:, k].tolist())) for k, stream in enumerate(streams)}
        values["perturbed"] = dict(enumerate(perturbed.tolist()))
        observations = Observations(seeds=tuple(range(num_seeds)), values=values)
        for part in estimate_variance_components(observations, streams, "perturbed"):
            assert part.low is not None
            assert part.high is not None
            covered[part.source] += part.low <= VARIANCES[part.source] <= part.high
    yield from ((source, Rate(count, sweeps)) for source, count in covered.items())
