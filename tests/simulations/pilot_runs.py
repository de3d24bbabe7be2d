"""Spreads of contrasts over seeds, from scores of pilot runs that are committed in docs/studies."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PILOT = Path(__file__).resolve().parents[2] / "docs" / "studies" / "pilot_200x64.csv"
"""Runs of openmoji scored on validation images: all components, and without each of them."""
REFERENCE = "full"
SCORES = {"R@1": "openmoji:retrieval.r1", "log likelihood": "openmoji:retrieval.log_likelihood"}
"""Label of a score -> its column."""


@dataclass(frozen=True)
class PilotSpreads:
    """How contrasts of the reference arm with the others vary over seeds."""

    num_runs: int
    num_contrasts: int
    spreads: dict[str, float]
    """Label of a score -> root of the mean variance of the contrasts."""
    correlation: float
    """Of the contrasts on the two scores over seeds, each relative to its mean."""


def read_pilot_spreads() -> PilotSpreads:
    """Return the spreads of the pilot runs."""
    with open(PILOT, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    values = {
        (row["arm"], row["seed"]): [float(row[column]) for column in SCORES.values()]
        for row in rows
    }
    seeds = sorted({row["seed"] for row in rows})
    arms = sorted({row["arm"] for row in rows} - {REFERENCE})
    contrasts = np.array(
        [[np.subtract(values[REFERENCE, s], values[a, s]) for s in seeds] for a in arms]
    )
    spreads = np.sqrt(contrasts.var(1, ddof=1).mean(0))
    residuals = (contrasts - contrasts.mean(1, keepdims=True)).reshape(-1, len(SCORES))
    return PilotSpreads(
        num_runs=len(rows),
        num_contrasts=len(arms),
        spreads=dict(zip(SCORES, spreads.tolist())),
        correlation=float(np.corrcoef(residuals.T)[0, 1]),
    )
