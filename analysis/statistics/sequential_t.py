"""Joint levels of t tests that are repeated after every seed: the error of the sequence, exactly.

Without an effect, the t statistics of the first n values of a normal sample, n = 3, 4, ..., are a
Markov chain whose transitions do not depend on the spread. Its state here is u = sum(x) /
sqrt(sum(x^2)), a function of t and n: the next value is tan(theta) in units of sqrt(sum(x^2)),
where theta has a density proportional to cos(theta)^(n-1), and the next state is u cos(theta) +
sin(theta). So the probability that a sequence of tests ever rejects is a sequence of integrals over
one variable (in the manner of Jennison and Turnbull, Biometrika, 1991; this form is our
reconstruction). No approximation for many seeds is used, as those for group sequential z tests are,
whose error exceeds 5 % here (docs/verdict_rates.md).

The level of a test of n values is proportional to sqrt(n): later tests, with more power, have more
of the error (a power family, as that of Wang and Tsiatis, Biometrics, 1987; the exponent is our
choice, by docs/adaptive_rates.md). The p-value of a test in the sequence is the error of the
sequence whose levels are all smaller or larger by one factor, so that this test only just rejects.
These sequences are nested, so it is below x with a probability of at most x at whatever test one
stops, as Holm's correction needs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, optimize, special

from analysis.statistics.effects import ALPHA
from uniclip.store import Look

Floats = NDArray[np.float64]
NUM_STATES = 201
"""Points at which the probability of a later rejection is tabulated, denser near the bound."""
NUM_NODES = 96
"""Nodes of each Gauss-Legendre quadrature. Errors are within 1 % of their stated value."""
LEVEL_EXPONENT = 0.5
"""The level of a test of n values is proportional to this power of n."""
LEVEL_DIGITS = 6
"""Decimals of a calibrated level, which is rounded down."""
NUM_FACTORS = 10
"""Factors at which the error of a sequence is tabulated; in between it is a cubic spline."""
SMALLEST_LEVEL = 1e-6
"""Level of the last look below which the error is extrapolated, from above."""
LARGEST_LEVELS = {True: 0.3, False: 0.15}
"""Two-sided or not -> level of the last look above which p-values are 1. Its t is above 1, which
`_step_back` needs."""
DENSITY_WIDTH = 9.0
"""Standard deviations beyond which the density of an angle is neglected."""


def compute_rejection_probability(looks: Sequence[Look], *, two_sided: bool) -> float:
    """Return the probability that t tests at some looks ever reject a true null hypothesis.

    The values are normal with mean 0. A look at n values rejects if the p-value of its test is
    below its level, which is at most 0.3 (two-sided) or 0.15.

    Args:
        looks: the tests, by number of values, each of at least 2.
        two_sided: whether effects of both signs are tested, each at half of the level.
    """
    levels = {look.num_seeds: look.level for look in looks}
    first, last = min(levels), max(levels)
    region, later = _Region.make(last, levels.get(last), two_sided), np.zeros(NUM_STATES)
    for n in range(last - 1, first - 1, -1):
        next_region, region = region, _Region.make(n, levels.get(n), two_sided)
        later = _step_back(n, region, next_region, later)
    return _average_over_first_test(first, region, later, levels[first])


def build_sequential_looks(
    first: int, last: int, exponent: float = LEVEL_EXPONENT
) -> tuple[Look, ...]:
    """Return a look at every number of seeds from `first` to `last`, with joint levels.

    They are those of one two-sided test with an error of 5 %; `compute_step_level` has others.
    """
    if last == first:
        return (Look(num_seeds=first, level=ALPHA),)
    shape = tuple(
        Look(num_seeds=n, level=(n / last) ** exponent * ALPHA, is_joint=True)
        for n in range(first, last + 1)
    )
    scale = _tabulate_errors(shape, two_sided=True).find_factor(ALPHA)
    digits = 10.0**LEVEL_DIGITS
    return tuple(
        replace(look, level=math.floor(look.level * scale * digits) / digits) for look in shape
    )


def adjust_p_values(
    p_values: Floats, num_values: int, looks: Sequence[Look], *, two_sided: bool = True
) -> Floats | None:
    """Return p-values of tests of so many values, corrected for the tests at all looks.

    None if no look has so few values: it depends on the number of values, not on that of the seeds
    with which they were reached, so that diverged seeds do not add a test.
    """
    look = next((look for look in looks if look.num_seeds == num_values), None)
    if look is None:
        return None
    return _tabulate_errors(tuple(looks), two_sided=two_sided).compute_errors(p_values / look.level)


def compute_step_level(
    look: Look, looks: Sequence[Look], num_tests: int, *, two_sided: bool = True
) -> float:
    """Return the level of a test at a look, such that its sequence has the error of all `looks`
    divided by `num_tests`: a step of Holm's procedure."""
    error = _tabulate_errors(tuple(looks), two_sided=True).compute_errors(np.ones(1))[0]
    table = _tabulate_errors(tuple(looks), two_sided=two_sided)
    return look.level * table.find_factor(float(error) / num_tests)


def find_level_factor(looks: Sequence[Look], error: float) -> float:
    """Return by what the levels are to be multiplied, so that two-sided tests have an error."""
    return _tabulate_errors(tuple(looks), two_sided=True).find_factor(error)


@dataclass(frozen=True)
class _ErrorTable:
    """The error of a sequence of tests as a function of a factor of all of its levels."""

    log_factors: Floats
    spline: interpolate.CubicSpline
    sum_of_levels: float
    """Times a factor it is Bonferroni's bound of the error."""

    def compute_errors(self, factors: Floats) -> Floats:
        """Return the probability that a test of the sequence ever rejects, for each factor."""
        first, last = self.log_factors[0], self.log_factors[-1]
        with np.errstate(divide="ignore"):
            log_factors = np.log(factors)
        inside = np.clip(log_factors, first, last)
        # Below the first factor the tangent errs upwards: in logarithms the error is concave.
        below = np.minimum(log_factors - first, 0.0) * self.spline(first, 1)
        errors = np.minimum(np.exp(self.spline(inside) + below), factors * self.sum_of_levels)
        return np.where(log_factors > last, 1.0, np.minimum(errors, 1.0))

    def find_factor(self, error: float) -> float:
        """Return the factor with an error."""

        def compute_excess(log_factor: float) -> float:
            return float(self.compute_errors(np.exp(np.array([log_factor])))[0]) - error

        low = self.log_factors[0]
        while compute_excess(low) > 0:
            low *= 2
        return math.exp(optimize.brentq(compute_excess, low, self.log_factors[-1]))


@lru_cache(maxsize=64)
def _tabulate_errors(looks: tuple[Look, ...], *, two_sided: bool) -> _ErrorTable:
    levels = np.geomspace(SMALLEST_LEVEL, LARGEST_LEVELS[two_sided], NUM_FACTORS)
    factors = levels / max(look.level for look in looks)
    errors = [
        compute_rejection_probability(
            [Look(num_seeds=k.num_seeds, level=k.level * float(factor)) for k in looks],
            two_sided=two_sided,
        )
        for factor in factors
    ]
    log_factors, log_errors = np.log(factors), np.log(errors)
    return _ErrorTable(
        log_factors=log_factors,
        spline=interpolate.CubicSpline(log_factors, log_errors),
        sum_of_levels=sum(look.level for look in looks),
    )


@dataclass(frozen=True)
class _Region:
    """The states at which the test of n values does not reject: between two bounds."""

    low: float
    """0 if tests are two-sided: all functions of the state are even then."""
    high: float
    two_sided: bool

    @classmethod
    def make(cls, n: int, level: float | None, two_sided: bool) -> _Region:
        """Return the region of a test at a level; all states if there is no test."""
        high = math.sqrt(n)
        if level is not None:
            t = -float(special.stdtrit(n - 1, level / 2 if two_sided else level))
            high *= t / math.sqrt(t * t + n - 1)
        return cls(0.0 if two_sided else -math.sqrt(n), high, two_sided)

    def list_states(self) -> Floats:
        """Return `NUM_STATES` states, increasing."""
        return self.high - (self.high - self.low) * (1 - np.linspace(0, 1, NUM_STATES)) ** 2

    def interpolate(self, states: Floats, values: Floats) -> Floats:
        """Return a function of the state from its values at `list_states`."""
        if self.two_sided:
            states = np.abs(states)
        share = np.clip((self.high - states) / (self.high - self.low), 0.0, 1.0)
        position = (1 - np.sqrt(share)) * (NUM_STATES - 1)
        index = np.minimum(position.astype(np.intp), NUM_STATES - 2)
        below = values[index]
        return np.asarray(below + (position - index) * (values[index + 1] - below), np.float64)


def _step_back(n: int, region: _Region, next_region: _Region, later: Floats) -> Floats:
    """Return the probability of a rejection after more than n values, at the states of a region.

    Args:
        n: number of values.
        region: the states of n values.
        next_region: those of n + 1 values.
        later: the probability of a rejection after more than n + 1 values, at its states.
    """
    states = region.list_states()
    peak = np.sqrt(1 + states**2)
    direction = np.arctan2(1.0, states)  # the angle at which the next state is largest, `peak`
    reach = np.arccos(np.minimum(next_region.high / peak, 1.0))
    reach = np.where(states < 0, 0.0, reach)  # the next state is 1 at most, and the bound above
    start = np.clip(direction - reach, -math.pi / 2, math.pi / 2)
    end = np.clip(direction + reach, -math.pi / 2, math.pi / 2)
    total = _angle_cdf(n, end) - _angle_cdf(n, start)
    limit = min(math.pi / 2, DENSITY_WIDTH / math.sqrt(n))
    ends = np.full(NUM_STATES, limit)
    for low, high in ((-ends, np.clip(start, -limit, limit)), (np.clip(end, -limit, limit), ends)):
        nodes, weights = _make_nodes(low, high)
        cosines = np.cos(nodes)
        values = next_region.interpolate(states[:, None] * cosines + np.sin(nodes), later)
        total = total + (weights * _angle_density(n, cosines) * values).sum(1)
    return np.asarray(total, np.float64)


def _average_over_first_test(first: int, region: _Region, later: Floats, level: float) -> float:
    """Return the probability of a rejection at the first test or later."""
    # The state of n values is sqrt(n) sin(angle), where the angle has the density of n - 1 values.
    ends = np.arcsin(np.clip(np.array([region.low, region.high]) / math.sqrt(first), -1.0, 1.0))
    nodes, weights = _make_nodes(ends[:1], ends[1:])
    values = region.interpolate(math.sqrt(first) * np.sin(nodes), later)
    average = float((weights * _angle_density(first - 1, np.cos(nodes)) * values).sum())
    return level + (2 * average if region.two_sided else average)


def _make_nodes(low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Return nodes and weights of quadratures from `low` to `high`, each (intervals, nodes)."""
    points, weights = _leggauss()
    half = (high - low)[:, None] / 2
    return low[:, None] + half * (points + 1), half * weights


@lru_cache(maxsize=1)
def _leggauss() -> tuple[Floats, Floats]:
    return np.polynomial.legendre.leggauss(NUM_NODES)


def _angle_density(n: int, cosines: Floats) -> Floats:
    """Return the density of arctan(y), where sqrt(n) y has a t distribution with n degrees."""
    scale = math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2)) / math.sqrt(math.pi)
    return np.asarray(scale * cosines ** (n - 1), np.float64)


def _angle_cdf(n: int, angles: Floats) -> Floats:
    return np.asarray(special.stdtr(n, math.sqrt(n) * np.tan(angles)), np.float64)
