"""Dose curves: a monotone fit, and a test of "no trend" that assumes no shape.

The fit is isotonic regression (Barlow, Bartholomew, Bremner and Brunk, "Statistical Inference under
Order Restrictions", 1972). The test is Page's ("Ordered hypotheses for multiple treatments", JASA,
1963): the doses are ranked within each seed, so only their order matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]

MIN_DOSES = 3
"""Fewest doses, off and on included, of which a trend is tested."""
MIN_SEEDS = 2
CONSTANT_TOLERANCE = 1e-12
"""Difference of means up to which they are equal."""


@dataclass(frozen=True, kw_only=True)
class DoseTrend:
    """What the doses of a component show."""

    means: tuple[float, ...]
    """Mean of each dose over seeds, in the order of the doses."""
    fitted: tuple[float, ...]
    """The nearest curve that only rises, or only falls, to these means."""
    is_rising: bool | None
    """None if all means are equal."""
    p: float | None
    """Two-sided p-value of "no trend" (Page); None below three doses or two seeds."""

    @property
    def is_monotone(self) -> bool:
        """Whether the means themselves only rise, or only fall."""
        return bool(np.allclose(self.means, self.fitted, rtol=0, atol=CONSTANT_TOLERANCE))


def estimate_dose_trend(values: Floats) -> DoseTrend:
    """Return the monotone fit and the test of one component.

    Args:
        values: (seeds, doses) scores, doses increasing, at least one seed and two doses.
    """
    means = values.mean(0)
    fits = {
        is_rising: optimize.isotonic_regression(means, increasing=is_rising).x
        for is_rising in (True, False)
    }
    is_rising = bool(((fits[True] - means) ** 2).sum() <= ((fits[False] - means) ** 2).sum())
    is_constant = bool(np.allclose(means, means[0], rtol=0, atol=CONSTANT_TOLERANCE))
    return DoseTrend(
        means=tuple(map(float, means)),
        fitted=tuple(map(float, fits[is_rising])),
        is_rising=None if is_constant else is_rising,
        p=compute_page_p(values),
    )


def compute_page_p(values: Floats) -> float | None:
    """Return the two-sided p-value of Page's test: twice the smaller one of both directions.

    Args:
        values: (seeds, doses) scores, doses increasing.
    """
    num_seeds, num_doses = values.shape
    if num_doses < MIN_DOSES or num_seeds < MIN_SEEDS:
        return None
    p_values = [stats.page_trend_test(v).pvalue for v in (values, values[:, ::-1])]
    return min(1.0, 2 * float(min(p_values)))
