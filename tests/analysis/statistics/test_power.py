"""The minimum detectable effect is detected with the stated power."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.statistics.effects import paired_t
from analysis.statistics.power import standardized_mde
from tests.analysis.statistics.test_effects import SIMULATIONS, make_rng


@pytest.mark.parametrize(("seeds", "alpha"), [(3, 0.05), (3, 0.05 / 3), (5, 0.05), (10, 0.05 / 6)])
def test_the_mde_is_detected_with_80_percent_power(seeds: int, alpha: float) -> None:
    delta = standardized_mde(seeds, alpha)
    values = delta + make_rng(5, seeds).normal(size=(SIMULATIONS, seeds))
    assert abs(np.mean(paired_t(values)[2] < alpha) - 0.8) < 0.005
