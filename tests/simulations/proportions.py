"""Simulated rates with their exact intervals."""

from __future__ import annotations

from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Rate:
    """A number of events among a number of trials."""

    count: int
    trials: int

    @property
    def value(self) -> float:
        """The observed rate."""
        return self.count / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval (Clopper and Pearson, Biometrika, 1934)."""
        interval = stats.binomtest(self.count, self.trials).proportion_ci(method="exact")
        return float(interval.low), float(interval.high)

    def exceeds(self, limit: float) -> bool:
        """Whether the rate is above a limit: the lower end of its interval is."""
        return self.interval[0] > limit

    def falls_below(self, limit: float) -> bool:
        """Whether the rate is below a limit: the upper end of its interval is."""
        return self.interval[1] < limit

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
