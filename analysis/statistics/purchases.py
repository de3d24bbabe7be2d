"""Purchases: which cells an adaptive sweep runs next, from the scores of the finished ones.

A sweep with `seeds=adaptive` runs in rounds. The first one holds the initial seeds of every arm.
Each later round buys one more seed of all arms of some primary contrasts that are undecided, so
that the new values are paired. The verdict on a contrast is that of `verdicts`, at the last look
that its seeds reached: here there is a look at every number of seeds (`sequential_t`), so it does
not matter when a contrast stops.

If the GPU-hours suffice for all undecided contrasts, each of them gets a seed in every round, so
that many cells run at once. If they do not suffice, those contrasts come first whose decision is
expected to cost least: most decisions per GPU-hour.

Everything here is a function of the rule and of scores, never of time: a sweep that is killed and
continued, or that several controllers run, buys the same cells. A round is decided when all cells
of the earlier rounds have finished, from their scores alone.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from scipy import special

from analysis.statistics.effects import Effect
from analysis.statistics.looks import compute_test_level
from analysis.statistics.verdicts import (
    ALL_DIVERGED,
    EXACTLY_ZERO,
    PrimaryScore,
    ScoreKey,
    estimate_contrasts,
    judge,
)
from uniclip.store import AdaptiveRule, Contrast, Look

CellKey = tuple[str, int]
"""(arm, seed)."""
EffectTable = Mapping[ScoreKey, Mapping[str, Effect]]
"""Score -> contrast -> effect."""


class StopReason(StrEnum):
    """Why no more cells are bought."""

    DECIDED = "every primary contrast is decided"
    MAX_SEEDS = "the contrasts that are undecided have max_seeds"
    MAX_GPU_HOURS = "max_gpu_hours are spent, as priced"
    NO_SCORES = "no finished run has a primary score"


@dataclass(frozen=True, kw_only=True)
class PurchaseRule:
    """The whole rule: with the finished scores it determines the next cells."""

    rule: AdaptiveRule
    arms: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    looks: tuple[Look, ...]
    first_seed: int = 0
    prices: Mapping[str, float] = field(default_factory=dict)
    """Arm -> GPU-hours of a cell; arms that are not named cost 1."""

    @property
    def primary_contrasts(self) -> tuple[Contrast, ...]:
        """The contrasts that are to be decided."""
        return tuple(c for c in self.contrasts if c.primary)

    def price(self, cells: Iterable[CellKey]) -> float:
        """Return the GPU-hours of some cells."""
        return math.fsum(self.prices.get(arm, 1.0) for arm, _ in cells)


@dataclass(frozen=True, kw_only=True)
class Purchases:
    """The cells that are bought so far."""

    rounds: tuple[tuple[CellKey, ...], ...]
    stop_reason: StopReason | None = None
    """None while cells of the last round have not finished."""
    undecided: tuple[str, ...] = ()
    """Primary contrasts without a decision, as of the last finished round; all at first."""
    effects: tuple[EffectTable, ...] = ()
    """The effects after each finished round, from the cells that were bought until then."""

    @property
    def cells(self) -> tuple[CellKey, ...]:
        """All cells, in the order in which they were bought."""
        return tuple(cell for cells in self.rounds for cell in cells)


def replay_purchases(
    rule: PurchaseRule, scores: Sequence[PrimaryScore], finished_cells: Collection[CellKey]
) -> Purchases:
    """Return the cells that a sweep has bought, round by round, and those to run next.

    A score that no run has, though runs have another one, is not waited for: as in
    `verdicts.estimate_contrasts`, it does not exist for these data.

    Args:
        rule: the rule.
        scores: the primary scores, with every value that is there. Only values of bought cells are
            looked at.
        finished_cells: cells that are trained and have their scores, or diverged.
    """
    rounds = [_list_initial_cells(rule)]
    undecided = tuple(c.name for c in rule.primary_contrasts)
    finished_cells, effects, stop_reason = frozenset(finished_cells), [], None
    while stop_reason is None and finished_cells.issuperset(rounds[-1]):
        bought = frozenset(cell for cells in rounds for cell in cells)
        selected = [select_cells(score, bought) for score in scores]
        effects.append(estimate_contrasts(rule.contrasts, selected, rule.looks))
        existing = {s.key for s in selected if any(s.observations.values.values())}
        counted = {key: effects[-1][key] for key in existing or effects[-1]}
        candidates = _find_undecided(rule, counted, bought)
        undecided = tuple(c.contrast.name for c in candidates)
        next_round = choose_round(rule, candidates, bought)
        if candidates and not existing:
            next_round = StopReason.NO_SCORES
        if isinstance(next_round, StopReason):
            stop_reason = next_round
        else:
            rounds.append(next_round)
    return Purchases(
        rounds=tuple(rounds),
        stop_reason=stop_reason,
        undecided=undecided,
        effects=tuple(effects),
    )


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A contrast that is undecided."""

    contrast: Contrast
    num_seeds: int
    """Seeds that all of its arms have."""
    expected_seeds: int | None
    """Seeds at which it would be decided if its estimates were exact; None: not by `max_seeds`."""


def choose_round(
    rule: PurchaseRule, candidates: Sequence[Candidate], bought: frozenset[CellKey]
) -> tuple[CellKey, ...] | StopReason:
    """Return the cells of the next round, in the order of seeds and arms, or why there is none.

    Args:
        rule: the rule.
        candidates: the contrasts that are undecided.
        bought: cells of the rounds so far, all of them finished.
    """
    if not candidates:
        return StopReason.DECIDED
    open_candidates = [c for c in candidates if c.num_seeds < rule.rule.max_seeds]
    if not open_candidates:
        return StopReason.MAX_SEEDS
    limit = rule.rule.max_gpu_hours
    left = math.inf if limit is None else limit - rule.price(bought)
    tolerance = 1e-9 * (limit or 0.0)
    chosen: set[CellKey] = set()
    reserved: set[CellKey] = set()
    ranked = sorted(open_candidates, key=lambda c: _rank(rule, c, bought))
    for candidate in ranked:
        wanted = _list_missing(rule, candidate, bought, candidate.num_seeds + 1)
        until_decision = _list_missing(rule, candidate, bought, _get_goal(rule, candidate))
        fits_whole = rule.price(reserved | until_decision) <= left + tolerance
        fits_once = rule.price(chosen | wanted) <= left + tolerance
        if fits_whole or (not chosen and fits_once):
            chosen |= wanted
            reserved |= until_decision
    if not chosen:
        return StopReason.MAX_GPU_HOURS
    order = {arm: i for i, arm in enumerate(rule.arms)}
    return tuple(sorted(chosen, key=lambda cell: (cell[1], order[cell[0]])))


def is_decided(effect: Effect, contrast: Contrast) -> bool:
    """Return whether a contrast needs no more seeds on a score: it helps, hurts, is practically
    nothing or exactly 0, or every run of it diverged. Before its first look nothing is."""
    if effect.look is None or effect.look.reached is None:
        return False
    verdict = judge(effect, contrast)
    return verdict.is_claim or verdict.word in (EXACTLY_ZERO, ALL_DIVERGED)


def _list_initial_cells(rule: PurchaseRule) -> tuple[CellKey, ...]:
    counts = rule.rule.initial_seeds
    return tuple(
        (arm, rule.first_seed + i)
        for i in range(max(counts.values(), default=0))
        for arm in rule.arms
        if i < counts.get(arm, 0)
    )


def _find_undecided(
    rule: PurchaseRule, effects: EffectTable, bought: frozenset[CellKey]
) -> list[Candidate]:
    """Return the primary contrasts that some of these primary scores leaves undecided."""
    seeds_by_arm: dict[str, int] = {}
    for arm, _ in bought:
        seeds_by_arm[arm] = seeds_by_arm.get(arm, 0) + 1
    open_effects = {
        contrast.name: {
            key: by_name[contrast.name]
            for key, by_name in effects.items()
            if not is_decided(by_name[contrast.name], contrast)
        }
        for contrast in rule.primary_contrasts
    }
    num_tests = max(1, sum(map(len, open_effects.values())))
    return [
        Candidate(
            contrast=contrast,
            num_seeds=num_seeds,
            expected_seeds=_expect_seeds(rule, open_effects[contrast.name], num_tests, num_seeds),
        )
        for contrast in rule.primary_contrasts
        if open_effects[contrast.name]
        for num_seeds in [min(seeds_by_arm[arm] for arm, w in contrast.weights.items() if w)]
    ]


def select_cells(score: PrimaryScore, bought: frozenset[CellKey]) -> PrimaryScore:
    """Return a score with the values of these cells alone."""
    observations = score.observations
    values = {
        arm: {seed: value for seed, value in by_seed.items() if (arm, seed) in bought}
        for arm, by_seed in observations.values.items()
    }
    seeds = tuple(sorted({seed for _, seed in bought}))
    arms = {arm for arm, _ in bought}
    selected = replace(
        observations,
        seeds=seeds,
        values=values,
        unplanned_cells=frozenset((arm, seed) for arm in arms for seed in seeds) - bought,
        diverged_cells=observations.diverged_cells & bought,
    )
    return replace(score, observations=selected)


def _expect_seeds(
    rule: PurchaseRule, effects: Mapping[ScoreKey, Effect], num_tests: int, num_seeds: int
) -> int | None:
    """Return the first look after `num_seeds` seeds at which all effects are decided if the
    estimates are exact."""
    looks = [look for look in rule.looks if look.num_seeds > num_seeds]
    counts = [_expect_look(looks, effect, num_tests) for effect in effects.values()]
    known_counts = [count for count in counts if count is not None]
    return max(known_counts) if len(known_counts) == len(counts) else None


def _expect_look(looks: Sequence[Look], effect: Effect, num_tests: int) -> int | None:
    """Return the first of some looks at which an estimate as it is now would be decided.

    Args:
        looks: the looks to come; seeds that diverge there are not expected.
        effect: the estimate.
        num_tests: tests that are undecided: Holm's correction at its next step.
    """
    if effect.mean is None or effect.spread is None or effect.look is None:
        return None
    margin = effect.look.margin
    distances = [(abs(effect.mean), 2)]  # from 0, two-sided; to the margin, one-sided
    if margin is not None:
        distances.append((margin - abs(effect.mean), 1))
    for look in looks:
        for distance, sides in distances:
            level = compute_test_level(look, effect.look.looks, num_tests, two_sided=sides == 2)
            needed = -float(special.stdtrit(look.num_seeds - 1, level / sides))
            if distance * math.sqrt(look.num_seeds) > needed * effect.spread:
                return look.num_seeds
    return None


def _get_goal(rule: PurchaseRule, candidate: Candidate) -> int:
    return candidate.expected_seeds or rule.rule.max_seeds


def _rank(
    rule: PurchaseRule, candidate: Candidate, bought: frozenset[CellKey]
) -> tuple[bool, float, int]:
    """Return a key that sorts contrasts: the cheapest expected decision first.

    Those that no look is expected to decide come last, and the order of the plan breaks ties.
    """
    missing = _list_missing(rule, candidate, bought, _get_goal(rule, candidate))
    position = rule.primary_contrasts.index(candidate.contrast)
    return candidate.expected_seeds is None, round(rule.price(missing), 9), position


def _list_missing(
    rule: PurchaseRule, candidate: Candidate, bought: frozenset[CellKey], num_seeds: int
) -> set[CellKey]:
    """Return the cells that a contrast lacks for so many seeds."""
    seeds = range(rule.first_seed, rule.first_seed + num_seeds)
    arms = [arm for arm, weight in candidate.contrast.weights.items() if weight]
    return {(arm, seed) for arm in arms for seed in seeds} - bought
