"""Rates of verdicts: simulated sweeps with known effects, judged at every look.

All sweeps are judged at once, with arrays: by the t tests of the report (`paired_t`,
`equivalence_p_value`) and by Holm's procedure written for arrays. `judge_by_report` gives one sweep
to the code of the report; tests hold the two equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.statistics.effects import ALPHA, Observations, paired_t
from analysis.statistics.looks import equivalence_p_value
from analysis.statistics.verdicts import (
    PRACTICALLY_NOTHING,
    UNRESOLVED,
    PrimaryScore,
    estimate_contrasts,
    judge,
)
from tests.simulations.proportions import Rate
from uniclip.store import Contrast, Look

Floats = NDArray[np.float64]
Words = NDArray[np.str_]
VERDICT_COLUMNS = ("helps", "hurts", PRACTICALLY_NOTHING, UNRESOLVED)
"""The columns of the table of rates."""
CORRELATION = 0.6
"""Between the two scores of a contrast, over seeds."""
BASELINE_SPREAD = 3.0
"""Standard deviation of what a seed changes in all arms alike, in SDs of a contrast."""


@dataclass(frozen=True)
class SweepModel:
    """Sweeps whose primary contrasts have known effects on the primary scores."""

    effects: Floats
    """(scores, contrasts), in standard deviations of a contrast over seeds."""
    margins: tuple[float | None, ...]
    """Margin of each score, in the same unit; None = none is declared."""
    correlation: float = CORRELATION

    def draw(self, g: np.random.Generator, num_seeds: int, sweeps: int) -> Floats:
        """Return contrasts (sweeps, scores, contrasts, seeds): normal, correlated over scores."""
        shape = (sweeps, *self.effects.shape, num_seeds)
        common = g.normal(size=(sweeps, 1, *shape[2:]))
        noise = np.sqrt(self.correlation) * common
        noise = noise + np.sqrt(1 - self.correlation) * g.normal(size=shape)
        return np.asarray(self.effects[..., None] + noise)


def make_model(
    effect: float, margin: float | None, num_contrasts: int = 3, num_scores: int = 2
) -> SweepModel:
    """Return a model whose first contrast has an effect on every score, and the others none."""
    effects = np.zeros((num_scores, num_contrasts))
    effects[:, 0] = effect
    return SweepModel(effects, (margin,) * num_scores)


def holm_adjust_rows(p_values: Floats) -> Floats:
    """Return Holm's adjusted p-values of each row of p-values (sweeps, m)."""
    order = p_values.argsort(1)
    steps = np.arange(p_values.shape[1], 0, -1) * np.take_along_axis(p_values, order, 1)
    adjusted = np.empty_like(p_values)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(steps, 1), 1.0), 1)
    return adjusted


def judge_look(values: Floats, margins: Sequence[float | None], look: Look) -> Words:
    """Return the verdicts (sweeps, scores, contrasts) of a look on contrasts with so many seeds."""
    values = values[..., : look.num_seeds]
    sweeps, shape = len(values), values.shape[:-1]
    inflation = ALPHA / look.level
    mean, _, p_values, _ = paired_t(values)
    p_values = np.minimum(1.0, inflation * p_values).reshape(sweeps, -1)
    is_shown = holm_adjust_rows(p_values).reshape(shape) < ALPHA
    is_equivalent = np.zeros(shape, bool)
    with_margin = [i for i, margin in enumerate(margins) if margin is not None]
    if with_margin:
        columns = [equivalence_p_value(values[:, i], margins[i] or 0.0) for i in with_margin]
        p_equivalence = np.minimum(1.0, inflation * np.concatenate(columns, 1))
        adjusted = holm_adjust_rows(p_equivalence).reshape(sweeps, len(with_margin), -1)
        is_equivalent[:, with_margin] = adjusted < ALPHA
    signed = np.where(mean > 0, "helps", "hurts")
    words = np.where(is_shown, signed, UNRESOLVED)
    return np.where(is_equivalent, PRACTICALLY_NOTHING, words)


def judge_by_report(
    values: Floats, margins: Sequence[float | None], looks: Sequence[Look]
) -> Words:
    """Return the verdicts (scores, contrasts) of a report on one sweep.

    values: contrasts (scores, contrasts, seeds).
    """
    num_scores, num_contrasts, num_seeds = values.shape
    contrasts = [_make_contrast(i) for i in range(num_contrasts)]
    baseline = np.linspace(-BASELINE_SPREAD, BASELINE_SPREAD, num_seeds)
    scores = []
    for k in range(num_scores):
        arms = {f"off{i}": baseline for i in range(num_contrasts)}
        arms |= {f"on{i}": baseline + values[k, i] for i in range(num_contrasts)}
        table = {arm: dict(enumerate(column.tolist())) for arm, column in arms.items()}
        observations = Observations(seeds=tuple(range(num_seeds)), values=table)
        scores.append(
            PrimaryScore(key=("simulated", str(k)), observations=observations, margin=margins[k])
        )
    effects = estimate_contrasts(contrasts, scores, looks)
    return np.array(
        [[judge(effects[score.key][c.name], c).word for c in contrasts] for score in scores]
    )


def _make_contrast(i: int) -> Contrast:
    weights = {f"on{i}": 1.0, f"off{i}": -1.0}
    name = f"contrast {i}"
    return Contrast(name=name, label=name, kind="difference", weights=weights, primary=True)


@dataclass(frozen=True)
class SimulatedVerdicts:
    """The verdicts on simulated sweeps at every look."""

    model: SweepModel
    words: dict[int, Words]
    """Seeds -> verdicts (sweeps, scores, contrasts)."""

    @property
    def sweeps(self) -> int:
        """Number of simulated sweeps."""
        return len(next(iter(self.words.values())))

    def rate(self, num_seeds: int, *words: str) -> Rate:
        """Return how often the first contrast had one of these verdicts on the first score."""
        return Rate(int(np.isin(self.words[num_seeds][:, 0, 0], words).sum()), self.sweeps)

    def count_false_claims(self) -> Rate:
        """Return in how many sweeps a comparison without effect was ever said to help or hurt."""
        is_null = self.model.effects == 0
        return self._count(np.isin(w, ("helps", "hurts")) & is_null for w in self.words.values())

    def count_wrong_signs(self) -> Rate:
        """Return in how many sweeps an effect ever had the wrong sign."""
        wrong = np.where(self.model.effects > 0, "hurts", "helps")
        has_effect = self.model.effects != 0
        return self._count((w == wrong) & has_effect for w in self.words.values())

    def count_false_equivalences(self) -> Rate:
        """Return in how many sweeps an effect of the margin or more was ever practically
        nothing."""
        margins = np.array([np.inf if m is None else m for m in self.model.margins])
        is_large = np.abs(self.model.effects) >= margins[:, None]
        return self._count((w == PRACTICALLY_NOTHING) & is_large for w in self.words.values())

    def _count(self, errors: Iterable[NDArray[np.bool_]]) -> Rate:
        by_look = [error.any((1, 2)) for error in errors]
        return Rate(int(np.logical_or.reduce(by_look).sum()), self.sweeps)


def simulate_verdicts(
    g: np.random.Generator, model: SweepModel, looks: Sequence[Look], sweeps: int
) -> SimulatedVerdicts:
    """Judge simulated sweeps at every look, as reports at those times would."""
    values = model.draw(g, looks[-1].num_seeds, sweeps)
    return SimulatedVerdicts(
        model, {look.num_seeds: judge_look(values, model.margins, look) for look in looks}
    )
