"""Errors of sampled orders: recovered where they are planted, apart from the error of the seeds."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.statistics.order_samples import estimate_order_sample


def test_without_noise_of_seeds_it_is_the_standard_error_of_the_pairs() -> None:
    gains = np.tile([1.0, 3.0, 2.0, 6.0, 0.0, 0.0], (4, 1))
    sample = estimate_order_sample(gains)
    assert sample is not None
    pairs = np.array([2.0, 4.0, 0.0])
    assert sample.sampling_se == pytest.approx(pairs.std(ddof=1) / np.sqrt(3))
    assert sample.num_orders == 6


def test_noise_of_seeds_is_no_error_of_the_orders() -> None:
    """Seeds that shift every order alike, and noise of each value: no order differs."""
    g = np.random.default_rng(1)
    estimates = []
    for _ in range(200):
        gains = g.normal(0, 1, (5, 1)) + g.normal(0, 0.5, (5, 16))
        sample = estimate_order_sample(gains)
        assert sample is not None
        estimates.append(sample.sampling_se**2)
    naive = 0.5**2 / 5 / 16  # what the means of orders spread by, though no order differs
    assert np.median(estimates) < naive
    spread = g.normal(0, 2, (1, 16)) + g.normal(0, 0.1, (5, 16))
    sample = estimate_order_sample(spread)
    assert sample is not None
    pairs = spread.reshape(5, 8, 2).mean((0, 2))
    assert sample.sampling_se == pytest.approx(pairs.std(ddof=1) / np.sqrt(8), rel=0.05)


@pytest.mark.parametrize("shape", [(3, 2), (3, 3), (0, 8)])
def test_one_pair_of_orders_has_no_error(shape: tuple[int, int]) -> None:
    assert estimate_order_sample(np.ones(shape)) is None


def test_the_interval_holds_both_errors() -> None:
    gains = np.random.default_rng(0).normal(0, 1, (5, 8))
    sample = estimate_order_sample(gains)
    assert sample is not None
    assert sample.low is not None
    assert sample.high is not None
    assert sample.low < gains.mean() < sample.high
    one_seed = estimate_order_sample(gains[:1])
    assert one_seed is not None
    assert one_seed.low is None
