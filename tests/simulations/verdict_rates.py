"""Rates of verdicts: families of contrasts with known effects, judged by the code of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from analysis.statistics.effects import Observations
from analysis.statistics.verdicts import (
    PRACTICALLY_NOTHING,
    UNRESOLVED,
    PrimaryScore,
    Verdict,
    estimate_contrasts,
    judge,
)
from tests.simulations.proportions import Rate
from uniclip.store import Contrast, Look

SCORE = ("simulated", "score")
BASELINE_SPREAD = 3.0
"""Standard deviation of what a seed changes in all arms alike, in SDs of a contrast."""


@dataclass(frozen=True)
class FamilyRates:
    """Verdicts on simulated families; effects and margin are in standard deviations."""

    families: int
    words: dict[int, Counter[str]] = field(default_factory=dict)
    """Seeds -> word -> number of verdicts on the first contrast."""
    wrong_signs: int = 0
    """Families whose first contrast was ever given the wrong sign."""
    false_claims: int = 0
    """Families in which a contrast without effect was ever said to help or hurt."""
    false_equivalences: int = 0
    """Families in which an effect of the margin or more was ever called practically nothing."""
    covered: dict[int, int] = field(default_factory=dict)
    """Seeds -> number of 95 % intervals of the first contrast that cover its effect."""

    def rate(self, num_seeds: int, *words: str) -> Rate:
        """Return how often the first contrast had one of these verdicts."""
        return Rate(sum(self.words[num_seeds][word] for word in words), self.families)


def simulate_families(
    g: np.random.Generator,
    effects: Sequence[float],
    margin: float | None,
    looks: Sequence[Look],
    families: int,
) -> FamilyRates:
    """Judge families of primary contrasts at every look, as reports at those times would.

    Args:
        g: generator.
        effects: true effect of each contrast, in its standard deviations.
        margin: margin of the score, in standard deviations.
        looks: the schedule.
        families: number of simulated families.
    """
    words = {look.num_seeds: Counter[str]() for look in looks}
    covered = dict.fromkeys(words, 0)
    counts: Counter[str] = Counter()
    contrasts = [_make_contrast(i) for i in range(len(effects))]
    for _ in range(families):
        table = _draw_arms(g, effects, looks[-1].num_seeds)
        events = set()
        for look in looks:
            values = {
                arm: dict(enumerate(column[: look.num_seeds])) for arm, column in table.items()
            }
            observations = Observations(seeds=tuple(range(look.num_seeds)), values=values)
            score = PrimaryScore(key=SCORE, observations=observations, margin=margin)
            estimates = estimate_contrasts(contrasts, [score], looks)[SCORE]
            verdicts = [judge(estimates[c.name], c) for c in contrasts]
            words[look.num_seeds][verdicts[0].word] += 1
            first = estimates[contrasts[0].name]
            covered[look.num_seeds] += (first.low or 0) <= effects[0] <= (first.high or 0)
            events |= _find_errors(verdicts, effects, margin)
        counts.update(events)
    return FamilyRates(
        families=families,
        words=words,
        wrong_signs=counts["sign"],
        false_claims=counts["claim"],
        false_equivalences=counts["equivalence"],
        covered=covered,
    )


def _draw_arms(
    g: np.random.Generator, effects: Sequence[float], num_seeds: int
) -> dict[str, list[float]]:
    """Return arm -> its scores; each contrast has a standard deviation of 1."""
    table = {}
    for i, effect in enumerate(effects):
        baseline = g.normal(0, BASELINE_SPREAD, num_seeds)
        table[f"off{i}"] = baseline.tolist()
        table[f"on{i}"] = (baseline + g.normal(effect, 1, num_seeds)).tolist()
    return table


def _make_contrast(i: int) -> Contrast:
    weights = {f"on{i}": 1.0, f"off{i}": -1.0}
    name = f"contrast {i}"
    return Contrast(name=name, label=name, kind="difference", weights=weights, primary=True)


def _find_errors(
    verdicts: Sequence[Verdict], effects: Sequence[float], margin: float | None
) -> set[str]:
    errors = set()
    if verdicts[0].sign * effects[0] < 0:
        errors.add("sign")
    for verdict, effect in zip(verdicts, effects):
        if verdict.sign and not effect:
            errors.add("claim")
        is_large = margin is not None and abs(effect) >= margin
        if is_large and verdict.word == PRACTICALLY_NOTHING:
            errors.add("equivalence")
    return errors


VERDICT_COLUMNS = (("helps",), ("hurts",), (PRACTICALLY_NOTHING,), (UNRESOLVED,))
"""The columns of the table of rates."""
