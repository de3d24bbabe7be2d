"""The results of one model on one data set: scores, and the per-sample outcomes behind them."""

from __future__ import annotations

import numpy as np

from uniclip.evaluate.metrics import Numbers
from uniclip.store import Score, ScoreKind

MIN_SAMPLES = 50
"""A score over fewer test samples is report-only: never a primary metric."""


class ScoreCard:
    """Collects scores, and arrays such as the outcomes whose means they are."""

    def __init__(self) -> None:
        self.scores: list[Score] = []
        self.predictions: dict[str, Numbers] = {}

    def add_outcomes(
        self,
        name: str,
        outcome: Numbers,
        *,
        kind: ScoreKind,
        chance: float,
        report_only: bool = False,
    ) -> None:
        """Add a score that is the mean of `outcome` (n,), and the outcomes (as bool if 0 or 1)."""
        binary = ((outcome == 0) | (outcome == 1)).all()
        self.add_array(name, outcome.astype(bool if binary else np.float32))
        value, samples = float(np.mean(outcome, dtype=np.float64)), len(outcome)
        self.add_scalar(
            name, value, kind=kind, samples=samples, chance=chance, report_only=report_only
        )

    def add_scalar(
        self,
        name: str,
        value: float,
        *,
        kind: ScoreKind,
        samples: int,
        chance: float | None = None,
        report_only: bool = False,
    ) -> None:
        """Add a score that is not a mean of outcomes."""
        assert all(name != s.name for s in self.scores), f"{name} twice"
        self.scores.append(
            Score(
                name=name,
                value=value,
                kind=kind,
                chance=chance,
                num_samples=samples,
                report_only=report_only or samples < MIN_SAMPLES,
            )
        )

    def add_array(self, name: str, array: Numbers) -> None:
        """Add an array to the predictions: numbers or text, which need no unpickling."""
        assert array.dtype != object, name
        assert name not in self.predictions, name
        self.predictions[name] = array

    def get_results(self) -> tuple[tuple[Score, ...], dict[str, Numbers]]:
        """Return scores and predictions."""
        return tuple(self.scores), self.predictions
