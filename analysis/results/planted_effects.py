"""Planted truths: does a sweep over data whose truth is known say what it must, no more?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from analysis.collect.frame import Gathered, gather
from analysis.statistics.effects import Effect, effect, family
from uniclip.store import Expectation, Store

LIMIT = 4.0
"""Standard errors of the test items within which a score is "at chance"."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one expectation."""

    about: str
    holds: bool
    detail: str


def check(store: Store, sweep_id: str) -> list[Verdict]:
    """A verdict for each expectation of a sweep's plan; what was not run does not hold."""
    gathered = gather(store, sweep_id)
    return [_verdict(gathered, e) for e in gathered.plan.expectations]


def _verdict(gathered: Gathered, expected: Expectation) -> Verdict:
    if expected.kind == "at_chance":
        holds, detail = _at_chance(gathered, expected)
    else:
        found = _effect(gathered, expected)
        holds, detail = _effect_as_expected(expected, found), _spoken(found)
    return Verdict(about=expected.about, holds=holds, detail=detail)


def _effect(gathered: Gathered, expected: Expectation) -> Effect:
    """The contrast's effect: within the primary family on the primary score, else on its own."""
    plan = gathered.plan
    contrast = next(c for c in plan.contrasts if c.name == expected.contrast)
    score = expected.score or plan.primary.score
    observed = gathered.observed(plan.primary.dataset, score)
    if contrast.primary and score == plan.primary.score:
        declared = [c for c in plan.contrasts if c.primary]
        return family([c.weights for c in declared], observed)[declared.index(contrast)]
    return effect(contrast.weights, observed)


def _effect_as_expected(expected: Expectation, found: Effect) -> bool:
    if not found.values or found.missing or found.diverged:
        return False
    if expected.kind == "exactly_zero":
        return found.exact
    if expected.kind == "helps":
        return found.sign == 1
    return found.sign == 0


def _at_chance(gathered: Gathered, expected: Expectation) -> tuple[bool, str]:
    plan = gathered.plan
    score = expected.score or plan.primary.score
    observed = gathered.observed(plan.primary.dataset, score)
    values = list(observed.values.get(expected.arm or "", {}).values())
    if len(values) < len(plan.seeds) or observed.chance is None or not observed.grain:
        return False, f"{len(values)} of {len(plan.seeds)} seeds have the score"
    chance, samples = observed.chance, 1 / observed.grain
    error = math.sqrt(chance * (1 - chance) / samples)
    mean = math.fsum(values) / len(values)
    detail = f"{mean:.3f}, chance {chance:.2f}, standard error of the test items {error:.3f}"
    return abs(mean - chance) <= LIMIT * error, detail


def _spoken(found: Effect) -> str:
    if found.mean is None:
        return "not measured"
    if found.exact:
        return f"exactly 0 in {len(found.seeds)} seeds"
    interval = "" if found.low is None else f" [{found.low:+.3f}, {found.high:+.3f}]"
    p = "" if found.significance is None else f", p = {found.significance:.3g}"
    return f"{found.mean:+.3f}{interval}{p}, {len(found.seeds)} seeds"
