"""Errors of a contrast over test samples in clusters: literal twins, and coverage by simulation."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest

from analysis.statistics.item_clusters import (
    Floats,
    compute_clustered_se,
    estimate_item_uncertainty,
    estimate_two_way,
)
from tests.analysis.statistics.test_effects import make_rng
from tests.simulations.coverage import EFFECT, draw_clustered_contrast

TRIALS = 6000 if os.environ.get("UNICLIP_SOAK") else 400
"""Simulated studies: the standard error of a coverage of 95 % is 0.003, or 0.011."""


def literal_clustered_se(values: Floats, clusters: list[int]) -> float:
    """The formula of the docstring, cluster by cluster."""
    mean, n, names = sum(values) / len(values), len(values), sorted(set(clusters))
    squares = 0.0
    for name in names:
        squares += sum(v - mean for v, f in zip(values, clusters) if f == name) ** 2
    return math.sqrt(len(names) / (len(names) - 1) * squares) / n


@pytest.mark.parametrize("sizes", [(1, 1), (3, 1), (1, 4, 2, 7, 1), (5, 5, 5, 1, 1, 1, 30)])
def test_the_clustered_error_equals_its_literal_twin(sizes: tuple[int, ...]) -> None:
    clusters = [i for i, size in enumerate(sizes) for _ in range(size)]
    values = make_rng(1, len(sizes)).normal(size=len(clusters))
    order = make_rng(2, len(sizes)).permutation(len(clusters))
    computed = compute_clustered_se(values[order], np.array(clusters)[order])
    assert computed == pytest.approx(literal_clustered_se(values, clusters))


def test_single_samples_have_the_usual_error() -> None:
    values = make_rng(3).normal(size=50)
    usual = values.std(ddof=1) / math.sqrt(50)
    assert compute_clustered_se(values) == pytest.approx(usual)
    assert compute_clustered_se(values, np.arange(50)[::-1]) == pytest.approx(usual)
    assert compute_clustered_se(values, np.zeros(50)) is None
    assert compute_clustered_se(values[:1]) is None


def literal_two_way(differences: Floats, clusters: list[int]) -> tuple[float, float]:
    """Standard error and degrees of freedom, by loops over seeds and clusters."""
    num_seeds, n = differences.shape
    names = sorted(set(clusters))
    num_clusters = len(names)
    mean = differences.mean()
    cell = {
        (s, g): sum(
            differences[s, i] - mean for i in range(n) if clusters[i] == names[g]
        ) * num_clusters / n
        for s in range(num_seeds)
        for g in range(num_clusters)
    }  # fmt: skip
    seed_mean = [
        sum(cell[s, g] for g in range(num_clusters)) / num_clusters for s in range(num_seeds)
    ]
    cluster_mean = [
        sum(cell[s, g] for s in range(num_seeds)) / num_seeds for g in range(num_clusters)
    ]
    a = num_clusters * sum(m**2 for m in seed_mean) / (num_seeds - 1)
    b = num_seeds * sum(m**2 for m in cluster_mean) / (num_clusters - 1)
    residual_df = (num_seeds - 1) * (num_clusters - 1)
    e = (
        sum((cell[s, g] - seed_mean[s] - cluster_mean[g]) ** 2 for s, g in cell) / residual_df
    )  # the overall mean of the cells is 0
    seed_part, cluster_part = max(0.0, a - e), max(0.0, b - e)
    total = seed_part + cluster_part + e
    terms = [(a, num_seeds - 1)] * int(a > e) + [(b, num_clusters - 1)] * int(b > e)
    terms += [] if len(terms) == 1 else [(e, residual_df)]
    df = total**2 / sum(square**2 / d for square, d in terms)
    return math.sqrt(total / (num_seeds * num_clusters)), max(df, min(num_seeds, num_clusters) - 1)


@pytest.mark.parametrize("components", [(0.3, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("num_seeds", [2, 5])
def test_the_two_way_error_equals_its_literal_twin(
    components: tuple[float, float], num_seeds: int
) -> None:
    sizes = (1, 4, 2, 7, 1, 1, 3, 12, 2)
    clusters = [i for i, size in enumerate(sizes) for _ in range(size)]
    for trial in range(4):
        rng = make_rng(4, num_seeds, trial)
        differences = rng.normal(size=(num_seeds, len(clusters)))
        differences += components[0] * rng.normal(size=(num_seeds, 1))
        differences += components[1] * rng.normal(size=len(sizes))[clusters]
        uncertainty = estimate_two_way(differences, np.array(clusters))
        assert uncertainty is not None
        expected = literal_two_way(differences, clusters)
        assert (uncertainty.total_se, uncertainty.degrees_of_freedom) == pytest.approx(expected)
        assert uncertainty.mean == pytest.approx(differences.mean())
        assert (uncertainty.num_samples, uncertainty.num_clusters) == (33, 9)


def test_the_interval_contains_both_sources() -> None:
    """Clusters alone, seeds alone, and both: the error of both is the largest."""
    rng = make_rng(5)
    clusters = np.repeat(np.arange(80), 3)
    by_cluster, by_seed = rng.normal(size=80)[clusters], rng.normal(size=(6, 1))
    noise = 0.1 * rng.normal(size=(6, 240))
    errors = []
    for cluster_scale, seed_scale in ((1.0, 0.0), (0.0, 0.2), (1.0, 0.2)):
        uncertainty = estimate_two_way(
            cluster_scale * by_cluster + seed_scale * by_seed + noise, clusters
        )
        assert uncertainty is not None
        assert uncertainty.total_se is not None
        errors.append(uncertainty.total_se)
    assert errors[2] > max(errors[:2])
    assert errors[2] == pytest.approx(math.hypot(errors[0], errors[1]), rel=0.1)


@pytest.mark.soak
@pytest.mark.parametrize(("num_clusters", "num_seeds"), [(150, 3), (300, 6)])
def test_a_planted_effect_is_covered_on_fresh_clusters_and_seeds(
    num_clusters: int, num_seeds: int
) -> None:
    """95 % intervals, of which those that ignore clusters cover far less."""
    rng, covered, covered_without = make_rng(6, num_clusters), 0, 0
    for _ in range(TRIALS):
        differences, clusters = draw_clustered_contrast(rng, num_clusters, num_seeds)
        for uncertainty, is_clustered in (
            (estimate_two_way(differences, clusters), True),
            (estimate_two_way(differences), False),
        ):
            assert uncertainty is not None
            assert uncertainty.low is not None
            assert uncertainty.high is not None
            is_covered = uncertainty.low <= EFFECT <= uncertainty.high
            covered += is_covered and is_clustered
            covered_without += is_covered and not is_clustered
    tolerance = 0.01 + 3 * math.sqrt(0.95 * 0.05 / TRIALS)
    assert covered / TRIALS == pytest.approx(0.95, abs=tolerance)
    assert covered_without / TRIALS < 0.9


@pytest.mark.soak
def test_the_error_of_the_items_covers_on_fresh_clusters_for_given_seeds() -> None:
    rng, covered = make_rng(7), 0
    for _ in range(TRIALS):
        (values,), clusters = draw_clustered_contrast(rng, 200, 1, seed_sd=0.0)
        standard_error = compute_clustered_se(values, clusters)
        assert standard_error is not None
        covered += abs(values.mean() - EFFECT) <= 1.96 * standard_error
    tolerance = 0.015 + 3 * math.sqrt(0.95 * 0.05 / TRIALS)  # 200 clusters are not infinitely many
    assert covered / TRIALS == pytest.approx(0.95, abs=tolerance)


def test_contrasts_of_arms_are_paired_by_sample_and_seed() -> None:
    rng = make_rng(8)
    base = rng.integers(0, 2, (2, 60)).astype(float)
    outcomes = {
        "a": {0: base[0], 1: base[1]},
        "b": {0: base[0] - 0.5, 1: base[1] - 0.5, 2: base[0]},
    }
    weights = {"a": 1.0, "b": -1.0}
    uncertainty = estimate_item_uncertainty(weights, outcomes, np.arange(60) // 2)
    assert uncertainty is not None
    assert uncertainty.item_se == pytest.approx(0, abs=1e-12)
    assert (uncertainty.mean, uncertainty.num_clusters) == (pytest.approx(0.5), 30)
    other_length = estimate_item_uncertainty(weights, outcomes, np.arange(59))
    assert other_length is None, "whose clusters these are is not known"
    single = {arm: {0: values[0]} for arm, values in outcomes.items()}
    only_seed = estimate_item_uncertainty(weights, single)
    assert only_seed is not None
    assert (only_seed.total_se, only_seed.low) == (None, None)
    assert estimate_item_uncertainty({"a": 1.0, "c": -1.0}, outcomes) is None
    uneven = {"a": {0: base[0]}, "b": {0: base[0][:-1]}}
    assert estimate_item_uncertainty(weights, uneven) is None
