"""Looks: at which numbers of seeds a contrast is tested, and at which level.

An ablation fixes a schedule of looks, each with its share of the 5 % of false verdicts. The look at
n seeds tests the first n seeds of the ablation, once all of their runs have finished. Only the last
look that was reached counts, so a verdict is a function of the schedule and of the finished seeds,
not of how often somebody looked.

The levels of the looks add up to at most 5 % (Bonferroni's inequality over looks). This holds for
any schedule and any dependence between looks. The boundaries of Lan and DeMets (Biometrika, 1983)
assume normal statistics; applied to the p-values of t tests of 3 to 12 seeds they had an error of
5.3 to 5.5 % in simulations (`tests.simulations`). Adaptive sweeps have a look at every number of
seeds, whose levels hold jointly (`sequential_t`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from analysis.statistics import sequential_t
from analysis.statistics.effects import (
    ALPHA,
    MIN_SEEDS_FOR_INTERVAL,
    Effect,
    Floats,
    LookResult,
    paired_t,
)
from analysis.statistics.power import MinimumDetectableEffect, estimate_mde, find_required_seeds
from uniclip.store import Look


def find_reached_look(looks: Sequence[Look], num_finished: int) -> Look | None:
    """Return the last look whose seeds have finished; None before the first one."""
    return next((k for k in reversed(looks) if k.num_seeds <= num_finished), None)


def count_finished(finished_seeds: Collection[int], first_seed: int = 0) -> int:
    """Return the number of finished seeds from the first one on, without a gap."""
    num_finished = 0
    while first_seed + num_finished in finished_seeds:
        num_finished += 1
    return num_finished


def adjust_for_looks(
    p: float,
    looks: Sequence[Look],
    reached: Look,
    num_values: int,
    *,
    two_sided: bool = True,
    alpha: float = ALPHA,
) -> float | None:
    """Return a p-value corrected for the looks; None if their rule has no test of so few values.

    Args:
        p: p-value of the test of the look.
        looks: the schedule.
        reached: the look.
        num_values: number of values of the test: seeds of the look that did not diverge.
        two_sided: whether effects of both signs are tested.
        alpha: the error of all looks.
    """
    if reached.is_joint:
        p_values = np.array([p])
        adjusted = sequential_t.adjust_p_values(p_values, num_values, looks, two_sided=two_sided)
        return None if adjusted is None else float(adjusted[0])
    return min(1.0, p * alpha / reached.level)


def compute_test_level(
    look: Look, looks: Sequence[Look], num_tests: int, *, two_sided: bool = True
) -> float:
    """Return the level of the test at a look, after the correction for all looks and `num_tests`
    tests."""
    if look.is_joint:
        return sequential_t.compute_step_level(look, looks, num_tests, two_sided=two_sided)
    return look.level / num_tests


def scale_levels(looks: Sequence[Look], alpha: float) -> tuple[Look, ...]:
    """Return looks with levels in the same proportion, whose error is `alpha` instead of 5 %."""
    factor = alpha / ALPHA
    if looks and looks[0].is_joint:
        factor = sequential_t.find_level_factor(looks, alpha)
    return tuple(replace(look, level=look.level * factor) for look in looks)


def equivalence_p_value(values: Floats, margin: float, *, min_spread: float = 0.0) -> Floats:
    """Return the p-value of two one-sided paired t tests along the last axis.

    The null hypothesis is an effect of the margin or more, either way (Schuirmann, J. Pharmacokin.
    Biopharm., 1987). The larger of the two p-values is that of the nearer bound.

    Args:
        values: differences, shape (..., n) with n >= 2.
        margin: the margin, above 0.
        min_spread: lower bound of the standard deviation.

    Returns:
        p-values of shape (...).
    """
    n = values.shape[-1]
    spread = np.maximum(values.std(-1, ddof=1), min_spread)
    distance = margin - np.abs(values.mean(-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(spread > 0, distance * math.sqrt(n) / spread, np.copysign(np.inf, distance))
    p_values: Floats = special.stdtr(n - 1, -t)
    return p_values


def run_look(
    effect: Effect,
    looks: Sequence[Look],
    score: tuple[str, str],
    *,
    margin: float | None = None,
    min_spread: float = 0.0,
    first_seed: int = 0,
) -> LookResult:
    """Test an effect at the last look that its seeds reach; p-values are corrected for the looks.

    Args:
        effect: the estimate from all seeds.
        looks: the schedule, by number of seeds.
        score: (data set, score).
        margin: margin of the score; None if none is declared.
        min_spread: lower bound of the standard deviation.
        first_seed: the seed from which looks count.
    """
    finished_seeds = frozenset({*effect.seeds, *effect.diverged_seeds})
    num_finished = count_finished(finished_seeds, first_seed)
    reached = find_reached_look(looks, num_finished)
    values = [
        value
        for seed, value in zip(effect.seeds, effect.values)
        if reached is not None and 0 <= seed - first_seed < reached.num_seeds
    ]
    result = LookResult(
        dataset=score[0],
        metric=score[1],
        looks=tuple(looks),
        num_finished=num_finished,
        finished_seeds=finished_seeds,
        first_seed=first_seed,
        reached=reached,
        num_tested=len(values),
        margin=margin,
        higher_is_better=effect.higher_is_better,
    )
    if reached is None or len(values) < MIN_SEEDS_FOR_INTERVAL:
        return result
    samples = np.array(values)
    mean, _, p_look, _ = (float(x) for x in paired_t(samples, min_spread=min_spread))
    p, p_equivalence = adjust_for_looks(p_look, looks, reached, len(values)), None
    if margin is not None:
        p_look = float(equivalence_p_value(samples, margin, min_spread=min_spread))
        p_equivalence = adjust_for_looks(p_look, looks, reached, len(values), two_sided=False)
    return replace(result, mean=mean, p=p, p_equivalence=p_equivalence)


def choose_planning_look(looks: Sequence[Look], reached: Look | None) -> Look:
    """Return the look for which an MDE is stated: the one reached, else the first one."""
    return reached or looks[0]


def estimate_look_mde(
    effect: Effect, look: Look, looks: Sequence[Look], family_size: int
) -> MinimumDetectableEffect | None:
    """Return the MDE of one of some looks at the strictest level of Holm's procedure over
    `family_size` tests."""
    if effect.spread is None:
        return None
    level = compute_test_level(look, looks, family_size)
    return estimate_mde(effect.spread, len(effect.values) - 1, look.num_seeds, level)


def estimate_required_seeds(effect: Effect) -> int | None:
    """Return the seeds of the first look that would resolve an effect, with 80 % power.

    If the estimate is within the margin, an effect of 0 is to be placed within it and an effect of
    the margin to be detected; else an effect as large as the estimate is to be detected. Beyond the
    schedule it is the number of seeds that a test at the level of the last look needs. None if it
    is unknown, or above 1000.
    """
    if effect.look is None:
        return None
    margin = effect.look.margin
    estimate = abs(effect.mean or 0.0)
    is_within = margin is not None and estimate < margin
    size = margin if margin is not None and is_within else estimate
    if not effect.spread or not size:
        return None
    ratio = size / effect.spread
    required = None
    for look in effect.look.looks:
        level = compute_test_level(look, effect.look.looks, effect.look.family_size)
        required = find_required_seeds(ratio, level, equivalence=is_within)
        if required is not None and required <= look.num_seeds:
            return look.num_seeds
    return required
