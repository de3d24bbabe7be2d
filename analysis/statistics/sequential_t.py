"""Levels of t tests that are repeated after every seed: the error of the sequence, exactly.

Without an effect, the t statistics of the first n values of a normal sample, n = 3, 4, ..., are a
Markov chain whose transitions do not depend on the spread. Its state here is u = sum(x) /
sqrt(sum(x^2)), a function of t and n: the next value is tan(theta) in units of sqrt(sum(x^2)),
where theta has a density proportional to cos(theta)^(n-1), and the next state is u cos(theta) +
sin(theta). So the probability that a sequence of tests ever rejects is a sequence of integrals over
one variable (in the manner of Jennison and Turnbull, Biometrika, 1991; this form is our
reconstruction). No approximation for many seeds is used, as those for group sequential z tests are,
whose error exceeds 5 % here (docs/verdict_rates.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from analysis.statistics.effects import ALPHA
from uniclip.store import Look

Floats = NDArray[np.float64]
NUM_STATES = 301
"""Points at which the probability of a later rejection is tabulated. It is convex, so that linear
interpolation errs upwards: by less than 1 %, and levels err downwards."""
NUM_NODES = 48
"""Nodes of each Gauss-Legendre quadrature."""
LEVEL_DIGITS = 4
"""Decimals of a calibrated level, which is rounded down."""


def compute_rejection_probability(looks: Sequence[Look], *, two_sided: bool) -> float:
    """Return the probability that t tests at some looks ever reject a true null hypothesis.

    The values are normal with mean 0. A look at n values rejects if the p-value of its test is
    below its level.

    Args:
        looks: the tests, by number of values, each of at least 2.
        two_sided: whether effects of both signs are tested, each at half of the level.
    """
    levels = {look.num_seeds: look.level for look in looks}
    first, last = min(levels), max(levels)
    bounds = {n: _compute_bound(n, levels.get(n), two_sided) for n in range(first, last + 1)}
    states = later = np.zeros(1)
    for n in range(last, first - 1, -1):
        low = -bounds[n] if two_sided else -math.sqrt(n)
        new_states = np.linspace(low, bounds[n], NUM_STATES)
        if n < last:
            later = _step_back(n, new_states, states, later, bounds[n + 1], two_sided)
        else:
            later = np.zeros(NUM_STATES)
        states = new_states
    return _average_over_first_test(first, states, later, levels[first])


@lru_cache(maxsize=64)
def calibrate_level(first: int, last: int, family_size: int) -> float:
    """Return the level of each of the tests after `first`, `first` + 1, ..., `last` seeds.

    With it, each of `family_size` sequences has an error of at most 0.05 / `family_size`, as
    Holm's procedure needs it: for its strictest step, of two-sided tests, which is the step with
    the least level (the others and the one-sided tests of equivalence then keep theirs). The level
    is the same at every number of seeds, so that the error does not grow if some seeds diverge and
    fewer values are tested.
    """

    def compute_excess(level: float) -> float:
        looks = [Look(num_seeds=n, level=level / family_size) for n in range(first, last + 1)]
        return float(compute_rejection_probability(looks, two_sided=True) * family_size - ALPHA)

    lowest = ALPHA / (last - first + 1)
    if last == first:
        return ALPHA
    level = float(optimize.brentq(compute_excess, lowest, ALPHA, xtol=1e-6))
    scale = 10.0**LEVEL_DIGITS
    return math.floor(level * scale) / scale


def build_sequential_looks(first: int, last: int, family_size: int) -> tuple[Look, ...]:
    """Return a look at every number of seeds from `first` to `last`, with calibrated levels."""
    level = calibrate_level(first, last, family_size)
    return tuple(Look(num_seeds=n, level=level) for n in range(first, last + 1))


def _compute_bound(n: int, level: float | None, two_sided: bool) -> float:
    """Return the state from which on the test of n values rejects; sqrt(n) if there is no test."""
    if level is None:
        return math.sqrt(n)
    t = float(special.stdtrit(n - 1, 1 - (level / 2 if two_sided else level)))
    return math.sqrt(n) * t / math.sqrt(t * t + n - 1)


def _step_back(
    n: int, states: Floats, next_states: Floats, later: Floats, bound: float, two_sided: bool
) -> Floats:
    """Return the probability of a rejection after more than n values, for each state.

    Args:
        n: number of values of `states`.
        states: where it is computed.
        next_states: states of n + 1 values, increasing.
        later: the probability of a rejection after more than n + 1 values, for each of these.
        bound: the state from which on the test of n + 1 values rejects.
        two_sided: whether it also rejects below minus this state.
    """
    peak = np.sqrt(1 + states**2)
    direction = np.arctan2(1.0, states)  # the angle at which the next state is largest, `peak`
    reach = np.arccos(np.minimum(bound / peak, 1.0))
    if two_sided:  # for negative states the other bound, at the other end, is within reach
        direction = np.where(states < 0, direction - math.pi, direction)
    else:
        reach = np.where(states < 0, 0.0, reach)
    start = np.clip(direction - reach, -math.pi / 2, math.pi / 2)
    end = np.clip(direction + reach, -math.pi / 2, math.pi / 2)
    total = _angle_cdf(n, end) - _angle_cdf(n, start)
    for low, high in ((-math.pi / 2, start), (end, math.pi / 2)):
        nodes, weights = _make_nodes(np.broadcast_to(low, states.shape), high)
        new_states = states[:, None] * np.cos(nodes) + np.sin(nodes)
        values = np.interp(new_states, next_states, later)
        total = total + (weights * _angle_density(n, nodes) * values).sum(1)
    return np.asarray(total, np.float64)


def _average_over_first_test(first: int, states: Floats, later: Floats, level: float) -> float:
    """Return the probability of a rejection at the first test or later."""
    # The state of n values is sqrt(n) sin(angle), where the angle has the density of n - 1 values.
    angles = np.arcsin(np.clip(states / math.sqrt(first), -1.0, 1.0))
    nodes, weights = _make_nodes(angles[:1], angles[-1:])
    values = np.interp(math.sqrt(first) * np.sin(nodes), states, later)
    return level + float((weights * _angle_density(first - 1, nodes) * values).sum())


def _make_nodes(low: Floats, high: Floats | float) -> tuple[Floats, Floats]:
    """Return nodes and weights of quadratures from `low` to `high`, each (intervals, nodes)."""
    points, weights = _leggauss()
    half = (np.asarray(high) - low)[:, None] / 2
    return np.asarray(low)[:, None] + half * (points + 1), half * weights


@lru_cache(maxsize=1)
def _leggauss() -> tuple[Floats, Floats]:
    return np.polynomial.legendre.leggauss(NUM_NODES)


def _angle_density(n: int, angles: Floats) -> Floats:
    """Return the density of arctan(y), where sqrt(n) y has a t distribution with n degrees."""
    scale = math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2)) / math.sqrt(math.pi)
    return np.asarray(scale * np.cos(angles) ** (n - 1), np.float64)


def _angle_cdf(n: int, angles: Floats) -> Floats:
    return np.asarray(special.stdtr(n, math.sqrt(n) * np.tan(angles)), np.float64)
