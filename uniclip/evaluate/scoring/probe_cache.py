"""Cached fits of a linear probe, so that an interrupted evaluation resumes from the last one.

A probe of ImageNet takes sixteen fits of many minutes. A fit is cached if it was long, until the
final probe is cached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from uniclip.evaluate.cache import Cache
from uniclip.evaluate.metrics import Numbers
from uniclip.evaluate.protocols.protocol import GRADIENT_TOLERANCE
from uniclip.evaluate.scoring.logistic_regression import LogisticRegression, LogisticRegressionFit

FORMAT_VERSION = 2
"""Version of the arrays; raised when their meaning changes."""

MIN_CACHED_SECONDS = 20.0
"""Fits that took fewer seconds are not cached."""


@dataclass(frozen=True)
class ProbeFitCache:
    """A regression whose long fits are cached; a `linear_probe.ProbeFitter`."""

    regression: LogisticRegression
    cache: Cache
    key: Mapping[str, Any]
    """Everything that a fit depends on besides its penalty, tolerance and starting point."""
    fit_keys: list[dict[str, Any]] = field(default_factory=list)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.regression.num_classes

    def fit(
        self,
        l2: float,
        initial_fit: LogisticRegressionFit | None = None,
        tolerance: float = GRADIENT_TOLERANCE,
    ) -> LogisticRegressionFit:
        """Return the optimum at penalty `l2`, from `LogisticRegression.fit` or the cache."""

        def compute() -> dict[str, Numbers]:
            return fit_to_arrays(self.regression.fit(l2, initial_fit, tolerance))

        initial_fit_key = (
            None if initial_fit is None else [initial_fit.l2, initial_fit.num_evaluations]
        )
        fit_key = {**self.key, "l2": l2, "initial_fit": initial_fit_key, "tolerance": tolerance}
        self.fit_keys.append(fit_key)
        return fit_from_arrays(self.cache.get_or_compute(fit_key, compute, MIN_CACHED_SECONDS))

    def remove_cached_fits(self) -> None:
        """Remove the cached fits, once the final probe is cached."""
        for fit_key in self.fit_keys:
            self.cache.remove("arrays", fit_key)


def fit_to_arrays(fit: LogisticRegressionFit) -> dict[str, Numbers]:
    """Return a fit as arrays of numbers."""
    numbers = np.array([fit.l2, fit.max_gradient, fit.num_evaluations])
    return {"weight": fit.weight, "bias": fit.bias, "numbers": numbers}


def fit_from_arrays(arrays: Mapping[str, Numbers]) -> LogisticRegressionFit:
    """Return the fit that `fit_to_arrays` encoded."""
    l2, gradient, evaluations = arrays["numbers"].tolist()
    return LogisticRegressionFit(arrays["weight"], arrays["bias"], l2, gradient, int(evaluations))
