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
from uniclip.evaluate.protocols.protocol import GRADIENT_TOLERANCE
from uniclip.evaluate.scoring.logistic_regression import LogisticRegression, LogisticRegressionFit

FORMAT_VERSION = 2
"""Of `arrays`: raised when they say something else."""

MIN_CACHED_SECONDS = 20.0
"""Seconds of a fit that is worth a file."""


@dataclass(frozen=True)
class ProbeFitCache:
    """A problem whose long fits are kept."""

    regression: LogisticRegression
    cache: Cache
    key: Mapping[str, Any]
    """All that a fit depends on besides its strength, its tolerance and where it starts."""
    fit_keys: list[dict[str, Any]] = field(default_factory=list)

    @property
    def num_classes(self) -> int:
        """How many there are."""
        return self.regression.num_classes

    def fit(
        self,
        l2: float,
        initial_fit: LogisticRegressionFit | None = None,
        tolerance: float = GRADIENT_TOLERANCE,
    ) -> LogisticRegressionFit:
        """The optimum at `strength`, as `Problem.fit` finds it, or found it before."""

        def compute() -> dict[str, NDArray[Any]]:
            return fit_to_arrays(self.regression.fit(l2, initial_fit, tolerance))

        initial_fit_key = (
            None if initial_fit is None else [initial_fit.l2, initial_fit.num_evaluations]
        )
        fit_key = {**self.key, "strength": l2, "start": initial_fit_key, "tolerance": tolerance}
        self.fit_keys.append(fit_key)
        return fit_from_arrays(self.cache.get_or_compute(fit_key, compute, MIN_CACHED_SECONDS))

    def remove_cached_fits(self) -> None:
        """The probe is kept: what led to it need not be."""
        for fit_key in self.fit_keys:
            self.cache.remove("arrays", fit_key)


def fit_to_arrays(fit: LogisticRegressionFit) -> dict[str, NDArray[Any]]:
    """A probe as arrays without objects."""
    numbers = np.array([fit.l2, fit.max_gradient, fit.num_evaluations])
    return {"weight": fit.weight, "bias": fit.bias, "numbers": numbers}


def fit_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> LogisticRegressionFit:
    """The probe of which `arrays` were made."""
    l2, gradient, evaluations = arrays["numbers"].tolist()
    return LogisticRegressionFit(arrays["weight"], arrays["bias"], l2, gradient, int(evaluations))
