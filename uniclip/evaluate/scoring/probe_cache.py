"""Fits of a linear probe that are kept one by one: who was stopped goes on from the last.

A probe of ImageNet is sixteen fits of many minutes. A fit is kept if it was long, and until the
probe that it led to is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate.cache import Cache
from uniclip.evaluate.protocols.protocol import TOLERANCE
from uniclip.evaluate.scoring.logistic_regression import Probe, Problem

FORM = 2
"""Of `arrays`: raised when they say something else."""

LONG = 20.0
"""Seconds of a fit that is worth a file."""


@dataclass(frozen=True)
class KeptFits:
    """A problem whose long fits are kept."""

    problem: Problem
    cache: Cache
    what: Mapping[str, Any]
    """All that a fit depends on besides its strength, its tolerance and where it starts."""
    done: list[dict[str, Any]] = field(default_factory=list)

    @property
    def classes(self) -> int:
        """How many there are."""
        return self.problem.classes

    def fit(
        self, strength: float, start: Probe | None = None, tolerance: float = TOLERANCE
    ) -> Probe:
        """The optimum at `strength`, as `Problem.fit` finds it, or found it before."""

        def make() -> dict[str, NDArray[Any]]:
            return arrays(self.problem.fit(strength, start, tolerance))

        begun = None if start is None else [start.strength, start.evaluations]
        own = {**self.what, "strength": strength, "start": begun, "tolerance": tolerance}
        self.done.append(own)
        return probe(self.cache.arrays(own, make, LONG))

    def forget(self) -> None:
        """The probe is kept: what led to it need not be."""
        for own in self.done:
            self.cache.forget("arrays", own)


def arrays(fitted: Probe) -> dict[str, NDArray[Any]]:
    """A probe as arrays without objects."""
    numbers = np.array([fitted.strength, fitted.gradient, fitted.evaluations])
    return {"weight": fitted.weight, "bias": fitted.bias, "numbers": numbers}


def probe(found: Mapping[str, NDArray[Any]]) -> Probe:
    """The probe of which `arrays` were made."""
    strength, gradient, evaluations = found["numbers"].tolist()
    return Probe(found["weight"], found["bias"], strength, gradient, int(evaluations))
