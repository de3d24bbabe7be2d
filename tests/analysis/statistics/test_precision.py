"""Decimals follow the standard error."""

from __future__ import annotations

import math

import pytest

from analysis.statistics.precision import DEFAULT_DECIMALS, MAX_DECIMALS, count_decimals


@pytest.mark.parametrize(
    ("standard_error", "decimals"),
    [
        (0.119, 2),  # examples of the Particle Data Group: 0.827 +- 0.119, 0.827 +- 0.367
        (0.367, 1),
        (3.54, 1),
        (3.56, 0),
        (9.6, 0),
        (0.0095, 3),
        (42.0, 0),
        (1.0, 1),
        (0.001, 4),
        (1e-12, MAX_DECIMALS),
        (0.0, DEFAULT_DECIMALS),
        (None, DEFAULT_DECIMALS),
        (math.nan, DEFAULT_DECIMALS),
        (math.inf, DEFAULT_DECIMALS),
    ],
)
def test_decimals_by_hand(standard_error: float | None, decimals: int) -> None:
    assert count_decimals(standard_error) == decimals
