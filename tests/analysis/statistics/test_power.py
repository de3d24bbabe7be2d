"""Minimum detectable effects are detected, and margins shown, with the stated power."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.statistics.effects import paired_t
from analysis.statistics.looks import equivalence_p_value
from analysis.statistics.power import (
    compute_equivalence_power,
    compute_spread_interval,
    estimate_mde,
    find_required_seeds,
    standardized_mde,
)
from tests.analysis.statistics.test_effects import SIMULATIONS, make_rng


@pytest.mark.parametrize(("seeds", "alpha"), [(3, 0.05), (3, 0.05 / 3), (5, 0.05), (10, 0.05 / 6)])
def test_the_mde_is_detected_with_80_percent_power(seeds: int, alpha: float) -> None:
    delta = standardized_mde(seeds, alpha)
    values = delta + make_rng(5, seeds).normal(size=(SIMULATIONS, seeds))
    assert abs(np.mean(paired_t(values)[2] < alpha) - 0.8) < 0.005


@pytest.mark.parametrize(
    ("seeds", "alpha", "size"), [(3, 0.05, 0.0), (5, 0.02, 0.5), (12, 0.005, 1)]
)
def test_the_power_of_an_equivalence_test(seeds: int, alpha: float, size: float) -> None:
    margin = 2.0
    values = size + make_rng(7, seeds).normal(size=(SIMULATIONS, seeds))
    rate = np.mean(equivalence_p_value(values, margin) < alpha)
    assert abs(rate - compute_equivalence_power(seeds, alpha, margin, size)) < 0.004


@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_the_interval_of_the_mde_covers_at_its_stated_rate(seeds: int) -> None:
    """Spread of 1, estimated by pilot seeds: the true MDE is inside in 95 %."""
    spreads = make_rng(8, seeds).normal(size=(2000, seeds)).std(1, ddof=1)
    true_mde = standardized_mde(5, 0.01)
    mdes = [estimate_mde(float(s), seeds - 1, 5, 0.01) for s in spreads]
    assert 0.94 < np.mean([m.low <= true_mde <= m.high for m in mdes]) < 0.96
    low, high = compute_spread_interval(1.0, seeds - 1)
    assert low < 1 < high


def test_the_required_seeds_are_the_fewest() -> None:
    for ratio in (0.5, 1.0, 3.0):
        needed = find_required_seeds(ratio, 0.05, equivalence=False)
        assert needed is not None
        assert standardized_mde(needed, 0.05) <= ratio
        assert needed == 2 or standardized_mde(needed - 1, 0.05) > ratio
        both = find_required_seeds(ratio, 0.05, equivalence=True)
        assert both is not None
        assert both >= needed
    assert find_required_seeds(1e-6, 0.05, equivalence=False) is None
    assert find_required_seeds(1e9, 0.05, equivalence=True) == 2
