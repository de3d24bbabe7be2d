"""What the scores of a benchmark state of themselves: read by the code that measures, and hashed.

A plan states protocols and measures nothing, so nothing here needs numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

VERSION = 1
"""Of the definitions in this package: part of every protocol, so a changed one gives new scores."""

SCENE_VIEWS = 1
"""Raised when the views of scenes that are asked about are drawn in another way."""

DEPTHS = (1, 5, 10)
"""The k of R@k."""

STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
"""The L2 strengths that a linear probe chooses from, from strong to weak."""

TOLERANCE = 1e-4
"""Largest absolute component of the gradient at which a probe's fit ends."""

RETRIEVAL = {
    "metric": "recall, right when the caption is; ties at their expectation",
    "depths": list(DEPTHS),
    "features": "embedding",
    "version": VERSION,
}
"""What retrieval scores state."""


def zero_shot(templates: Sequence[str], names: Any) -> dict[str, Any]:
    """What zero-shot scores state; names: the prompt names of each class."""
    return {
        "metric": "accuracy",
        "templates": list(templates),
        "names": names,
        "features": "embedding",
        "version": VERSION,
    }


def probe() -> dict[str, Any]:
    """What linear-probe scores state."""
    return {
        "metric": "accuracy",
        "classifier": "logistic regression by L-BFGS, standardised features",
        "strengths": list(STRENGTHS),
        "tolerance": TOLERANCE,
        "selection": "validation, refit on train + validation",
        "features": "trunk",
        "version": VERSION,
    }
