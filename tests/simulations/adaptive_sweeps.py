"""Simulated sweeps whose seeds are bought by the adaptive rule, against sweeps with fixed seeds.

The rule and the verdicts are those of the product (`analysis.statistics.purchases` and `verdicts`),
applied to drawn scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.effects import ALPHA, Observations, paired_t
from analysis.statistics.looks import equivalence_p_value
from analysis.statistics.purchases import (
    PurchaseRule,
    Purchases,
    replay_purchases,
)
from analysis.statistics.sequential_t import adjust_p_values, build_sequential_looks
from analysis.statistics.verdicts import (
    PRACTICALLY_NOTHING,
    UNRESOLVED,
    PrimaryScore,
    judge,
)
from tests.simulations.proportions import Rate
from tests.simulations.verdict_rates import CORRELATION, holm_adjust_rows, judge_look
from uniclip.store import AdaptiveRule, Contrast, Look

Floats = NDArray[np.float64]
Words = NDArray[np.str_]
Bools = NDArray[np.bool_]
SEED_SPREAD = 3.0
"""Standard deviation of what a seed changes in all arms alike, in SDs of a contrast."""
REFERENCE = "full"
MIXED_SIZES = (2.0, 8.0)
"""Range of the effects that are not 0 in mixed sweeps."""


@dataclass(frozen=True)
class AdaptiveModel:
    """Sweeps that leave one component out in each arm, with known effects of the components."""

    effects: tuple[float, ...]
    """Of each component on every score, in standard deviations of a contrast over seeds."""
    margin: float | None
    """Of every score, in the same unit."""
    is_mixed: bool = False
    """Whether `effects` only counts the components: half of them have no effect, the others one of
    `MIXED_SIZES`, either way."""
    log_spread: float = 0.0
    """Standard deviation over sweeps of the logarithm of the noise: how well it is known."""
    num_scores: int = 2
    initial_seeds: int = 4
    max_seeds: int = 16
    max_cells: float | None = None
    """Limit of the cells, each at a price of one GPU-hour."""
    looks: tuple[Look, ...] | None = None
    """A schedule instead of the calibrated one."""

    @property
    def arms(self) -> tuple[str, ...]:
        """The reference arm, then one without each component."""
        return (REFERENCE, *(f"off{i}" for i in range(len(self.effects))))

    @cached_property
    def rule(self) -> PurchaseRule:
        """The rule of the sweep."""
        contrasts = tuple(
            Contrast(
                name=arm,
                label=arm,
                kind="difference",
                weights={REFERENCE: 1.0, arm: -1.0},
                primary=True,
            )
            for arm in self.arms[1:]
        )
        looks = self.looks
        return PurchaseRule(
            rule=AdaptiveRule(
                initial_seeds=dict.fromkeys(self.arms, self.initial_seeds),
                max_seeds=self.max_seeds,
                max_gpu_hours=self.max_cells,
            ),
            arms=self.arms,
            contrasts=contrasts,
            looks=looks or build_sequential_looks(self.initial_seeds, self.max_seeds),
        )

    def draw(self, g: np.random.Generator, sweeps: int, num_seeds: int) -> tuple[Floats, Floats]:
        """Return scores (sweeps, scores, arms, seeds), paired and correlated over scores, and the
        effects (sweeps, contrasts)."""
        shape = (sweeps, self.num_scores, len(self.arms), num_seeds)
        common = g.normal(size=(sweeps, 1, *shape[2:]))
        noise = np.sqrt(CORRELATION) * common + np.sqrt(1 - CORRELATION) * g.normal(size=shape)
        by_seed = SEED_SPREAD * g.normal(size=(sweeps, 1, 1, num_seeds))
        effects = np.broadcast_to(np.array(self.effects), (sweeps, len(self.effects)))
        if self.is_mixed:
            sizes = g.uniform(*MIXED_SIZES, size=effects.shape) * g.choice((-1, 1), effects.shape)
            effects = np.where(g.random(effects.shape) < 0.5, 0.0, sizes)
        means = np.concatenate([np.zeros((sweeps, 1)), -effects], 1)[:, None, :, None]
        spread = np.exp(self.log_spread * g.normal(size=(sweeps, 1, 1, 1)))
        return np.asarray(means + spread * noise / np.sqrt(2) + by_seed), effects


def make_scores(values: Floats, model: AdaptiveModel) -> list[PrimaryScore]:
    """Return the scores of one sweep from values (scores, arms, seeds)."""
    seeds = range(values.shape[-1])
    return [
        PrimaryScore(
            key=("simulated", str(k)),
            observations=Observations(
                seeds=tuple(seeds),
                values={
                    arm: dict(enumerate(column.tolist())) for arm, column in zip(model.arms, table)
                },
            ),
            margin=model.margin,
        )
        for k, table in enumerate(values)
    ]


@dataclass(frozen=True)
class SimulatedPurchases:
    """What the sweeps of a model bought, and what was said of them after every round."""

    model: AdaptiveModel
    num_cells: Floats
    """(sweeps): cells that were bought."""
    is_right: Bools
    """(sweeps, scores, contrasts): whether the verdict at the end is right."""
    has_false_effect: Bools
    """(sweeps): whether, after any round, an effect was claimed where there is none, or of the
    wrong sign."""
    has_false_equivalence: Bools
    """(sweeps): whether, after any round, an effect of the margin or more was practically
    nothing."""

    @property
    def mean_cells(self) -> float:
        """Mean number of cells of a sweep."""
        return float(self.num_cells.mean())

    @property
    def power(self) -> float:
        """Share of the comparisons whose final verdict is right."""
        return float(self.is_right.mean())

    @property
    def false_effects(self) -> Rate:
        """Rate of sweeps with a false effect at any time."""
        return Rate(int(self.has_false_effect.sum()), len(self.num_cells))

    @property
    def false_equivalences(self) -> Rate:
        """Rate of sweeps with a false equivalence at any time."""
        return Rate(int(self.has_false_equivalence.sum()), len(self.num_cells))


def find_right_words(words: Words, effects: Floats, margin: float | None) -> Bools:
    """Return which verdicts are decisions and right, for effects of the same shape or one that
    broadcasts."""
    is_small = np.abs(effects) < (margin or 0.0)
    return np.asarray(
        (words == "helps") & (effects > 0)
        | (words == "hurts") & (effects < 0)
        | (words == PRACTICALLY_NOTHING) & is_small
    )


def simulate_purchases(
    g: np.random.Generator, model: AdaptiveModel, sweeps: int
) -> SimulatedPurchases:
    """Run simulated sweeps by the adaptive rule without a limit of cells, all at once, and judge
    each after every round.

    `replay_sweep` gives one sweep to the rule of the product; tests hold the two equal.
    """
    assert model.max_cells is None
    values, effects = model.draw(g, sweeps, model.max_seeds)
    differences = values[:, :, :1] - values[:, :, 1:]
    truth = effects[:, None]
    margin = np.inf if model.margin is None else model.margin
    seeds = np.full(effects.shape, model.initial_seeds)
    false_effects = np.zeros(sweeps, bool)
    false_equivalences = np.zeros(sweeps, bool)
    tests = _PrefixTests(differences, model)
    while True:
        words = tests.judge(seeds)
        is_wrong = (words == "helps") & (truth <= 0) | (words == "hurts") & (truth >= 0)
        false_effects |= is_wrong.any((1, 2))
        is_large = np.abs(truth) >= margin
        false_equivalences |= ((words == PRACTICALLY_NOTHING) & is_large).any((1, 2))
        is_open = (words == UNRESOLVED).any(1) & (seeds < model.max_seeds)
        if not is_open.any():
            break
        seeds = seeds + is_open
    return SimulatedPurchases(
        model=model,
        num_cells=(seeds.sum(1) + seeds.max(1)).astype(float),
        is_right=find_right_words(words, truth, model.margin),
        has_false_effect=false_effects,
        has_false_equivalence=false_equivalences,
    )


def _adjust_for_looks(
    p_values: Sequence[Floats], looks: Sequence[Look], *, two_sided: bool
) -> Floats:
    """Return the p-values at each look, corrected for all of them."""
    adjusted = [
        adjust_p_values(p, look.num_seeds, looks, two_sided=two_sided)
        if look.is_joint
        else np.minimum(1.0, p * ALPHA / look.level)
        for p, look in zip(p_values, looks)
    ]
    return np.stack([p for p in adjusted if p is not None])


class _PrefixTests:
    """The tests of the first n seeds of every contrast, for every n that a sweep may come to."""

    def __init__(self, differences: Floats, model: AdaptiveModel) -> None:
        looks = model.rule.looks
        self.first = looks[0].num_seeds
        prefixes = [differences[..., : look.num_seeds] for look in looks]
        results = [paired_t(values) for values in prefixes]
        self.mean = np.stack([mean for mean, *_ in results])
        self.p = _adjust_for_looks([p for _, _, p, _ in results], looks, two_sided=True)
        self.p_equivalence = None
        if model.margin is not None:
            columns = [equivalence_p_value(values, model.margin) for values in prefixes]
            self.p_equivalence = _adjust_for_looks(columns, looks, two_sided=False)

    def judge(self, seeds: NDArray[np.int_]) -> Words:
        """Return the verdicts (sweeps, scores, contrasts) of contrasts with so many seeds, an array
        (sweeps, contrasts)."""

        def pick(table: Floats) -> Floats:
            index = np.broadcast_to((seeds - self.first)[None, :, None], (1, *table.shape[1:]))
            return np.asarray(np.take_along_axis(table, index, 0)[0])

        def adjust(p_values: Floats) -> Floats:
            return holm_adjust_rows(p_values.reshape(len(p_values), -1)).reshape(p_values.shape)

        signed = np.where(pick(self.mean) > 0, "helps", "hurts")
        words = np.where(adjust(pick(self.p)) < ALPHA, signed, UNRESOLVED)
        if self.p_equivalence is None:
            return np.asarray(words)
        is_equivalent = adjust(pick(self.p_equivalence)) < ALPHA
        return np.where(is_equivalent, PRACTICALLY_NOTHING, words)


def replay_sweep(model: AdaptiveModel, values: Floats) -> Purchases:
    """Return what the rule of the product buys in one sweep of values (scores, arms, seeds)."""
    all_cells = {(arm, seed) for arm in model.arms for seed in range(model.max_seeds)}
    return replay_purchases(model.rule, make_scores(values, model), all_cells)


def judge_rounds(model: AdaptiveModel, purchases: Purchases) -> Words:
    """Return the verdicts (rounds, scores, contrasts) after every round, as reports at those times
    would."""
    contrasts = model.rule.contrasts
    return np.array(
        [
            [[judge(by_name[c.name], c).word for c in contrasts] for by_name in effects.values()]
            for effects in purchases.effects
        ]
    )


def simulate_fixed_power(
    g: np.random.Generator, model: AdaptiveModel, sweeps: int, max_seeds: int = 40
) -> list[float]:
    """Return the power of sweeps with 3, 4, ... fixed seeds, tested once at 5 % with the same
    correction over contrasts and scores."""
    values, effects = model.draw(g, sweeps, max_seeds)
    contrasts = values[:, :, :1] - values[:, :, 1:]
    margins = (model.margin,) * model.num_scores
    powers = []
    for n in range(3, max_seeds + 1):
        words = judge_look(contrasts, margins, Look(num_seeds=n, level=0.05))
        powers.append(float(find_right_words(words, effects[:, None], model.margin).mean()))
    return powers


def find_fixed_seeds(powers: Sequence[float], power: float) -> float:
    """Return the number of fixed seeds with a power, interpolated; NaN if none has it.

    Args:
        powers: the power with 3, 4, ... seeds.
        power: the power that is sought.
    """
    for i, value in enumerate(powers):
        if value >= power:
            before = powers[i - 1] if i else 0.0
            return 3.0 if not i else 2 + i + (power - before) / (value - before)
    return float("nan")
