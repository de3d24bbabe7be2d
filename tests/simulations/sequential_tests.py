"""Tests of one contrast after every seed: how soon each of them finds an effect, and its error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.effects import paired_t
from analysis.statistics.looks import compute_test_level
from analysis.statistics.sequential_t import LEVEL_EXPONENT, build_sequential_looks
from tests.simulations.proportions import Rate
from uniclip.store import DEFAULT_LOOKS, Look

Floats = NDArray[np.float64]
MAX_SEEDS = 12
FAMILY_SIZE = 6
"""The tests have the level 0.05 / FAMILY_SIZE, the strictest step of Holm's procedure."""
LEVEL = 0.05 / FAMILY_SIZE
PRIOR_VARIANCES = (1.0, 4.0, 16.0)
"""Variances of the effects, in SDs squared, for which e-values are tuned."""
EXPONENTS = {LEVEL_EXPONENT: "", 0.0: ", all equal", 1.0: ", proportional to seeds"}
"""Exponent of the levels -> what it means."""


def compute_e_values(values: Floats, prior_variance: float) -> Floats:
    """Return e-values of "no effect" along the last axis, of shape (..., n) with n >= 2.

    It is the likelihood ratio of the t statistic between effects, in standard deviations, that are
    normal with mean 0, and none. As a sequence in n it is an e-process, so the test that rejects at
    1 / alpha is valid at every time (Perez-Ortiz, Lardy, de Heide and Gruenwald, Annals of
    Statistics, 2024; Wang and Ramdas, 2023).
    """
    n = values.shape[-1]
    t_squared = n * values.mean(-1) ** 2 / values.var(-1, ddof=1)
    shrinkage = 1 + n * prior_variance
    ratio = (1 + t_squared / (n - 1)) / (1 + t_squared / ((n - 1) * shrinkage))
    return np.asarray(ratio ** (n / 2) / np.sqrt(shrinkage), np.float64)


@dataclass(frozen=True)
class SequentialTest:
    """A test that may reject after every seed."""

    label: str
    rejects: Callable[[Floats], NDArray[np.bool_]]
    """(sweeps, n) values -> whether it rejects after n seeds."""


def make_looks_test(label: str, looks: tuple[Look, ...]) -> SequentialTest:
    """Return the t test at some looks, whose error is divided by the number of tests."""
    levels = {look.num_seeds: compute_test_level(look, looks, FAMILY_SIZE) for look in looks}

    def rejects(values: Floats) -> NDArray[np.bool_]:
        level = levels.get(values.shape[-1], 0.0)
        return np.asarray(paired_t(values)[2] < level)

    return SequentialTest(label, rejects)


def list_tests() -> list[SequentialTest]:
    """Return the tests that are compared."""
    tests = [make_looks_test("looks at 5, 8 and 12, levels add up", DEFAULT_LOOKS)]
    seeds = range(3, MAX_SEEDS + 1)
    bonferroni = tuple(Look(num_seeds=n, level=0.05 / len(seeds)) for n in seeds)
    tests.append(make_looks_test("every seed from 3, levels add up", bonferroni))
    for exponent, label in EXPONENTS.items():
        looks = build_sequential_looks(4, MAX_SEEDS, exponent)
        tests.append(make_looks_test(f"every seed from 4, joint levels{label}", looks))
    for first in (3, 5):
        looks = build_sequential_looks(first, MAX_SEEDS)
        tests.append(make_looks_test(f"every seed from {first}, joint levels", looks))
    for variance in PRIOR_VARIANCES:
        tests.append(
            SequentialTest(
                f"t e-process, effects of variance {variance:g}",
                lambda values, v=variance: compute_e_values(values, v) >= 1 / LEVEL,  # type: ignore[misc]
            )
        )
    return tests


@dataclass(frozen=True)
class StoppingTimes:
    """How a sequential test ended."""

    rejected: Rate
    mean_seeds: float
    """Mean of the seeds at which it rejected, or the last one."""


def simulate_stopping(
    g: np.random.Generator, test: SequentialTest, effect: float, sweeps: int
) -> StoppingTimes:
    """Test values with an effect, in standard deviations, after every seed from 3 on."""
    values = effect + g.normal(size=(sweeps, MAX_SEEDS))
    seeds = np.full(sweeps, MAX_SEEDS)
    has_rejected = np.zeros(sweeps, bool)
    for n in range(3, MAX_SEEDS + 1):
        now = test.rejects(values[:, :n]) & ~has_rejected
        seeds[now] = n
        has_rejected |= now
    return StoppingTimes(Rate(int(has_rejected.sum()), sweeps), float(seeds.mean()))
