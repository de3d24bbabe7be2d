"""Errors of a contrast over test samples in families: literal twins, and coverage by simulation."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.statistics.item_families import (
    Floats,
    compute_clustered_se,
    estimate_item_uncertainty,
    estimate_two_way,
)
from tests.analysis.statistics.test_effects import make_rng

TRIALS = 6000 if os.environ.get("UNICLIP_SOAK") else 400
"""Simulated studies: the standard error of a coverage of 95 % is 0.003, or 0.011."""
EFFECT = 0.3


def literal_clustered_se(values: Floats, families: list[int]) -> float:
    """The formula of the docstring, family by family."""
    mean, n, names = sum(values) / len(values), len(values), sorted(set(families))
    squares = 0.0
    for name in names:
        squares += sum(v - mean for v, f in zip(values, families) if f == name) ** 2
    return math.sqrt(len(names) / (len(names) - 1) * squares) / n


@pytest.mark.parametrize("sizes", [(1, 1), (3, 1), (1, 4, 2, 7, 1), (5, 5, 5, 1, 1, 1, 30)])
def test_the_clustered_error_equals_its_literal_twin(sizes: tuple[int, ...]) -> None:
    families = [i for i, size in enumerate(sizes) for _ in range(size)]
    values = make_rng(1, len(sizes)).normal(size=len(families))
    order = make_rng(2, len(sizes)).permutation(len(families))
    computed = compute_clustered_se(values[order], np.array(families)[order])
    assert computed == pytest.approx(literal_clustered_se(values, families))


def test_single_samples_have_the_usual_error() -> None:
    values = make_rng(3).normal(size=50)
    usual = values.std(ddof=1) / math.sqrt(50)
    assert compute_clustered_se(values) == pytest.approx(usual)
    assert compute_clustered_se(values, np.arange(50)[::-1]) == pytest.approx(usual)
    assert compute_clustered_se(values, np.zeros(50)) is None
    assert compute_clustered_se(values[:1]) is None


def literal_two_way(differences: Floats, families: list[int]) -> tuple[float, float]:
    """Standard error and degrees of freedom, by loops over seeds and families."""
    num_seeds, n = differences.shape
    names = sorted(set(families))
    num_families = len(names)
    mean = differences.mean()
    cell = {
        (s, g): sum(
            differences[s, i] - mean for i in range(n) if families[i] == names[g]
        ) * num_families / n
        for s in range(num_seeds)
        for g in range(num_families)
    }  # fmt: skip
    seed_mean = [
        sum(cell[s, g] for g in range(num_families)) / num_families for s in range(num_seeds)
    ]
    family_mean = [
        sum(cell[s, g] for s in range(num_seeds)) / num_seeds for g in range(num_families)
    ]
    a = num_families * sum(m**2 for m in seed_mean) / (num_seeds - 1)
    b = num_seeds * sum(m**2 for m in family_mean) / (num_families - 1)
    residual_df = (num_seeds - 1) * (num_families - 1)
    e = (
        sum((cell[s, g] - seed_mean[s] - family_mean[g]) ** 2 for s, g in cell) / residual_df
    )  # the overall mean of the cells is 0
    seed_part, family_part = max(0.0, a - e), max(0.0, b - e)
    total = seed_part + family_part + e
    terms = [(a, num_seeds - 1)] * int(a > e) + [(b, num_families - 1)] * int(b > e)
    terms += [] if len(terms) == 1 else [(e, residual_df)]
    df = total**2 / sum(square**2 / d for square, d in terms)
    return math.sqrt(total / (num_seeds * num_families)), max(df, min(num_seeds, num_families) - 1)


@pytest.mark.parametrize("components", [(0.3, 1.0), (0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("num_seeds", [2, 5])
def test_the_two_way_error_equals_its_literal_twin(
    components: tuple[float, float], num_seeds: int
) -> None:
    sizes = (1, 4, 2, 7, 1, 1, 3, 12, 2)
    families = [i for i, size in enumerate(sizes) for _ in range(size)]
    for trial in range(4):
        rng = make_rng(4, num_seeds, trial)
        differences = rng.normal(size=(num_seeds, len(families)))
        differences += components[0] * rng.normal(size=(num_seeds, 1))
        differences += components[1] * rng.normal(size=len(sizes))[families]
        uncertainty = estimate_two_way(differences, np.array(families))
        assert uncertainty is not None
        expected = literal_two_way(differences, families)
        assert (uncertainty.total_se, uncertainty.degrees_of_freedom) == pytest.approx(expected)
        assert uncertainty.mean == pytest.approx(differences.mean())
        assert (uncertainty.num_samples, uncertainty.num_families) == (33, 9)


def test_the_interval_contains_both_sources() -> None:
    """Families alone, seeds alone, and both: the error of both is the largest."""
    rng = make_rng(5)
    families = np.repeat(np.arange(80), 3)
    by_family, by_seed = rng.normal(size=80)[families], rng.normal(size=(6, 1))
    noise = 0.1 * rng.normal(size=(6, 240))
    errors = []
    for family_scale, seed_scale in ((1.0, 0.0), (0.0, 0.2), (1.0, 0.2)):
        uncertainty = estimate_two_way(
            family_scale * by_family + seed_scale * by_seed + noise, families
        )
        assert uncertainty is not None
        assert uncertainty.total_se is not None
        errors.append(uncertainty.total_se)
    assert errors[2] > max(errors[:2])
    assert errors[2] == pytest.approx(math.hypot(errors[0], errors[1]), rel=0.1)


def draw_study(
    rng: np.random.Generator, num_families: int, num_seeds: int, seed_sd: float = 0.05
) -> tuple[Floats, NDArray[np.int64]]:
    """A contrast of fresh seeds on fresh families of one to about thirty variants."""
    sizes = rng.geometric(0.5, num_families)
    sizes += (rng.random(num_families) < 0.05) * rng.integers(5, 30, num_families)
    families = np.repeat(np.arange(num_families), sizes)
    differences = (
        EFFECT
        + seed_sd * rng.normal(size=(num_seeds, 1))
        + 0.5 * rng.normal(size=num_families)[families]
        + 0.2 * rng.normal(size=(num_seeds, num_families))[:, families]
        + 0.5 * rng.normal(size=(num_seeds, len(families)))
    )
    return differences, families


@pytest.mark.soak
@pytest.mark.parametrize(("num_families", "num_seeds"), [(150, 3), (300, 6)])
def test_a_planted_effect_is_covered_on_fresh_families_and_seeds(
    num_families: int, num_seeds: int
) -> None:
    """95 % intervals, of which those that ignore families cover far less."""
    rng, covered, covered_without = make_rng(6, num_families), 0, 0
    for _ in range(TRIALS):
        differences, families = draw_study(rng, num_families, num_seeds)
        for uncertainty, is_clustered in (
            (estimate_two_way(differences, families), True),
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
def test_the_error_of_the_items_covers_on_fresh_families_for_given_seeds() -> None:
    rng, covered = make_rng(7), 0
    for _ in range(TRIALS):
        (values,), families = draw_study(rng, 200, 1, seed_sd=0.0)
        standard_error = compute_clustered_se(values, families)
        assert standard_error is not None
        covered += abs(values.mean() - EFFECT) <= 1.96 * standard_error
    tolerance = 0.015 + 3 * math.sqrt(0.95 * 0.05 / TRIALS)  # 200 families are not infinitely many
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
    assert (uncertainty.mean, uncertainty.num_families) == (pytest.approx(0.5), 30)
    other_length = estimate_item_uncertainty(weights, outcomes, np.arange(59))
    assert other_length is not None
    assert other_length.num_families == 60, "families of other samples are not used"
    single = {arm: {0: values[0]} for arm, values in outcomes.items()}
    only_seed = estimate_item_uncertainty(weights, single)
    assert only_seed is not None
    assert (only_seed.total_se, only_seed.low) == (None, None)
    assert estimate_item_uncertainty({"a": 1.0, "c": -1.0}, outcomes) is None
    uneven = {"a": {0: base[0]}, "b": {0: base[0][:-1]}}
    assert estimate_item_uncertainty(weights, uneven) is None
