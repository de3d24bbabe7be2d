"""Linear probe: L2-regularised multinomial logistic regression on frozen features.

The loss is the mean cross-entropy plus `strength` / 2 times the squared weights (biases are free),
minimised by L-BFGS in float64 until no component of the gradient exceeds `TOLERANCE`. Features are
standardised by the training split. The strength is the one with the best validation accuracy along
a warm-started path from strong to weak (the stronger one of a tie); the last fit is on training and
validation together, and the test split is used once. After Radford et al. (2021), appendix A.3; the
short path and the standardisation are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate.metrics import Float, Int
from uniclip.evaluate.protocols import STRENGTHS, TOLERANCE

ITERATIONS = 1_000
"""Most iterations of one fit (CLIP's)."""


@dataclass(frozen=True)
class Probe:
    """A fitted linear classifier of C classes over F features."""

    weight: Float
    """(C, F)."""
    bias: Float
    """(C,)."""
    strength: float
    gradient: float
    """Largest absolute component of the gradient where the fit ended."""

    def predict(self, features: Float) -> Int:
        """The class of each row of `features` (n, F): (n,) int64."""
        return np.argmax(features @ self.weight.T + self.bias, axis=1)


@dataclass(frozen=True)
class Part:
    """One split as a probe sees it."""

    features: NDArray[Any]
    """(n, F)."""
    labels: Int
    """(n,) int64, none of them -1."""


def objective(
    theta: Float, features: Float, targets: Float, strength: float
) -> tuple[float, Float]:
    """The loss and its gradient.

    theta: (C * (F + 1),), rows of weights with the bias last. features: (n, F). targets: (n, C)
    one-hot. Returns the loss and the gradient in theta's shape.
    """
    n, width = features.shape
    rows = theta.reshape(targets.shape[1], width + 1)
    weight, bias = rows[:, :-1], rows[:, -1]
    logits = features @ weight.T + bias
    logits -= logits.max(axis=1, keepdims=True)
    right = (logits * targets).sum()
    np.exp(logits, out=logits)
    total = logits.sum(axis=1, keepdims=True)
    loss = (np.log(total).sum() - right) / n + strength / 2 * (weight * weight).sum()
    residual = (logits / total - targets) / n
    gradient = np.empty_like(rows)
    gradient[:, :-1] = residual.T @ features + strength * weight
    gradient[:, -1] = residual.sum(axis=0)
    return float(loss), gradient.ravel()


def fit(
    part: Part,
    classes: int,
    strength: float,
    start: Probe | None = None,
    tolerance: float = TOLERANCE,
) -> Probe:
    """Fit a probe to `part`, from `start` if there is one."""
    from scipy.optimize import minimize  # here, so that stating a protocol does not import it

    features = np.ascontiguousarray(part.features, dtype=np.float64)
    theta = np.zeros((classes, features.shape[1] + 1))
    if start is not None:
        theta[:, :-1], theta[:, -1] = start.weight, start.bias
    found = minimize(
        objective,
        theta.ravel(),
        args=(features, np.eye(classes)[part.labels], strength),
        jac=True,
        method="L-BFGS-B",
        options={"gtol": tolerance, "ftol": 0.0, "maxiter": ITERATIONS, "maxfun": 2 * ITERATIONS},
    )
    rows = found.x.reshape(theta.shape)
    return Probe(rows[:, :-1], rows[:, -1], strength, float(np.abs(found.jac).max()))


def select(
    train: Part, validation: Part, classes: int, strengths: Sequence[float] = STRENGTHS
) -> Probe:
    """The probe of `train` that is best on `validation`, along the path of `strengths`."""
    probe, best, best_accuracy = None, None, -1.0
    for strength in sorted(strengths, reverse=True):
        probe = fit(train, classes, strength, probe)
        accuracy = float((probe.predict(validation.features) == validation.labels).mean())
        if accuracy > best_accuracy:
            best, best_accuracy = probe, accuracy
    assert best is not None, "no strength to choose from"
    return best


def linear_probe(train: Part, validation: Part, test: Part, classes: int) -> tuple[Int, Probe]:
    """Predictions (n_test,) int64 of a probe chosen on validation and refitted, and the probe."""
    mean = train.features.mean(axis=0, dtype=np.float64)
    deviation = train.features.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1.0
    train, validation, test = (
        Part((p.features - mean) / deviation, p.labels) for p in (train, validation, test)
    )
    chosen = select(train, validation, classes)
    both = Part(
        np.concatenate([train.features, validation.features]),
        np.concatenate([train.labels, validation.labels]),
    )
    probe = fit(both, classes, chosen.strength, chosen)
    return probe.predict(test.features), probe
