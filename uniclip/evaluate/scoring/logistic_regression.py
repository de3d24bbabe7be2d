"""L2-regularized logistic regression by L-BFGS, to a given gradient tolerance.

The loss is the mean cross-entropy plus `l2` / 2 times the squared weights (biases are not
penalized). scikit-learn's `LogisticRegression(C)` has the same optimum at l2 = 1 / (C n) for three
or more classes; for two classes it has one weight vector, which counts once, where here both count,
so there l2 = 2 / (C n). With several labels a sample, each class is a separate problem
(one-vs-rest).

The optimizations leave the optimum unchanged: features are rotated to their principal axes once for
all penalties (a rotation keeps the penalty, and directions without variance have no weight), each
axis is scaled by the initial curvature of the loss, the gradient is in closed form for a tile of
rows at a time, and products are in float32 while that is precise enough (all else is in float64:
otherwise the line search fails by rounding at gradients of 1e-5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from uniclip.errors import StopRequested
from uniclip.evaluate.metrics import Float, Int, Numbers
from uniclip.evaluate.protocols.protocol import GRADIENT_TOLERANCE

MAX_ITERATIONS = 1_000
"""Largest number of iterations of one fit (Radford et al., 2021, appendix A.3)."""

LBFGS_HISTORY_SIZE = 8
"""Steps in the history of L-BFGS."""

MAX_LINE_SEARCH_STEPS = 10
"""Largest number of trials of a line search: in float32 a hopeless search ends early."""

LOGITS_PER_TILE = 1 << 17
"""Logits in memory at once: a megabyte, which fits in a CPU cache."""

FLOAT32_TOLERANCE = 5e-7
"""Smallest gradient tolerance of the float32 phase."""

ROWS_PER_BLOCK = 2_048
"""Rows processed at once."""

CURVATURE_ROWS = 2_048
"""Rows from which the initial curvature is estimated."""


@dataclass(frozen=True)
class LogisticRegressionFit:
    """A fitted linear classifier of C classes over F features."""

    weight: Float
    """(C, F)."""
    bias: Float
    """(C,)."""
    l2: float
    max_gradient: float
    """Largest absolute component of the gradient where the fit ended."""
    num_evaluations: int = 0
    """Number of evaluations of loss and gradient."""

    def decision_function(self, features: Numbers) -> Float:
        """Return logits (n, C) float64 of features (n, F)."""
        return np.asarray(features @ self.weight.T + self.bias, dtype=np.float64)

    def predict(self, features: Numbers) -> Int:
        """Return the class of each row of features (n, F), (n,) int64."""
        return np.asarray(np.argmax(self.decision_function(features), axis=1), np.int64)


def loss_and_gradient(
    theta: Numbers, features: Numbers, labels: Numbers, l2: float
) -> tuple[float, Float]:
    """Return the loss and its gradient (C, F + 1), float64.

    Args:
        theta: (C, F + 1) float64, rows of weights with the bias last.
        features: (n, F); products are computed in its dtype, all else in float64.
        labels: (n,) int64 classes; or (n, C) of 1 (present), 0 (absent) and -1 (excluded).
        l2: Penalty, relative to the mean loss.
    """
    loss_function = _softmax_loss_in_place if labels.ndim == 1 else _sigmoid_loss_in_place
    float64_weight, bias = theta[:, :-1], theta[:, -1]
    weight = float64_weight.astype(features.dtype)
    gradient = np.zeros(theta.shape)
    loss, n, step = 0.0, len(features), max(1, LOGITS_PER_TILE // len(theta))
    for start in range(0, n, step):
        rows = features[start : start + step]
        logits = (rows @ weight.T).astype(np.float64)
        logits += bias
        loss += loss_function(logits, labels[start : start + step])
        gradient[:, :-1] += logits.T.astype(rows.dtype) @ rows
        gradient[:, -1] += logits.sum(axis=0)
    gradient /= n
    gradient[:, :-1] += l2 * float64_weight
    return loss / n + l2 / 2 * float((float64_weight * float64_weight).sum()), gradient


class LogisticRegression:
    """Features and labels, prepared once for fits at many penalties.

    Args:
        features: (n, F).
        labels: (n,) int64 in 0 .. num_classes - 1, or (n, num_classes) as in `loss_and_gradient`.
        num_classes: C.
        should_stop: Called at each evaluation of the loss; `StopRequested` is raised once it
            returns True.
    """

    def __init__(
        self,
        features: Numbers,
        labels: Numbers,
        num_classes: int,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        assert len(features) == len(labels) > 0, (features.shape, labels.shape)
        self.labels, self.num_classes, self._should_stop = labels, num_classes, should_stop
        self._features = features
        self._mean: Float = features.mean(axis=0, dtype=np.float64)
        self._axes, self._variance = _principal_axes(features, self._mean)
        self._rotated_features: dict[Any, Numbers] = {}

    def fit(
        self,
        l2: float,
        initial_fit: LogisticRegressionFit | None = None,
        tolerance: float = GRADIENT_TOLERANCE,
    ) -> LogisticRegressionFit:
        """Return the optimum at penalty `l2`, starting from `initial_fit` if there is one.

        Ends where no component of the gradient, in the coordinates of the features, exceeds
        `tolerance`, after `MAX_ITERATIONS`, or where float64 shows no further descent (at gradients
        of 1e-8 and less); `LogisticRegressionFit.max_gradient` is what was reached.
        """
        theta = np.zeros((self.num_classes, len(self._variance) + 1))
        if initial_fit is not None:
            theta[:, :-1] = initial_fit.weight @ self._axes
            theta[:, -1] = initial_fit.bias + initial_fit.weight @ self._mean
        max_gradient, num_evaluations = np.inf, 0
        for dtype, target_gradient in (
            (np.float32, max(tolerance, FLOAT32_TOLERANCE)),
            (np.float64, tolerance),
        ):
            if max_gradient > tolerance:
                theta, max_gradient, new_evaluations = self._run_lbfgs(
                    self._get_rotated(dtype), theta, l2, target_gradient
                )
                num_evaluations += new_evaluations
        weight = theta[:, :-1] @ self._axes.T
        return LogisticRegressionFit(
            weight, theta[:, -1] - weight @ self._mean, l2, max_gradient, num_evaluations
        )

    def _get_rotated(self, dtype: Any) -> Numbers:
        """Return the features along the principal axes (n, R), computed once for each dtype."""
        if dtype not in self._rotated_features:
            self._rotated_features[dtype] = self._rotate(dtype)
        return self._rotated_features[dtype]

    def _rotate(self, dtype: Any) -> Numbers:
        rows = np.empty((len(self._features), len(self._variance)), dtype)
        for start in range(0, len(rows), ROWS_PER_BLOCK):
            block = slice(start, start + ROWS_PER_BLOCK)
            rows[block] = (self._features[block] - self._mean) @ self._axes
        return rows

    def _run_lbfgs(
        self, rows: Numbers, theta: Float, l2: float, tolerance: float
    ) -> tuple[Float, float, int]:
        from scipy.optimize import minimize  # here: it takes long to import

        scale = self._parameter_scale(rows, theta, l2)
        latest_gradient: list[Float] = []

        def scaled_objective(point: Float) -> tuple[float, Float]:
            if self._should_stop():
                raise StopRequested
            unscaled_theta = point.reshape(theta.shape) * scale
            loss, gradient = loss_and_gradient(unscaled_theta, rows, self.labels, l2)
            latest_gradient[:] = [gradient]
            return loss, (gradient * scale).ravel()

        def stop_at_tolerance(_: Float) -> None:
            # The largest component is at least the root mean square, usually several times that:
            # while it cannot be small enough, the gradient need not be rotated back.
            gradient_rms = (
                float(np.linalg.norm(latest_gradient[0])) / latest_gradient[0].size ** 0.5
            )
            if (
                2 * gradient_rms <= tolerance
                and self._max_gradient(latest_gradient[0]) <= tolerance
            ):
                raise StopIteration

        result = minimize(
            scaled_objective,
            (theta / scale).ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=stop_at_tolerance,
            options={
                "gtol": 0.0,
                "ftol": 0.0,
                "maxiter": MAX_ITERATIONS,
                "maxfun": 2 * MAX_ITERATIONS,
                "maxcor": LBFGS_HISTORY_SIZE,
                "maxls": MAX_LINE_SEARCH_STEPS,
            },
        )
        solution = result.x.reshape(theta.shape) * scale
        gradient = result.jac.reshape(theta.shape) / scale
        return solution, self._max_gradient(gradient), int(result.nfev)

    def _max_gradient(self, gradient: Float) -> float:
        """Return the largest absolute component in the coordinates of the features."""
        bias = gradient[:, -1]
        weight = gradient[:, :-1] @ self._axes.T + bias[:, None] * self._mean
        return float(max(np.abs(weight).max(initial=0), np.abs(bias).max()))

    def _parameter_scale(self, rows: Numbers, theta: Float, l2: float) -> Float:
        """Return (C, R + 1): about one over the root of the curvature along each parameter."""
        sampled_rows = rows[:: max(1, len(rows) // CURVATURE_ROWS)]
        logits = sampled_rows @ theta[:, :-1].T.astype(rows.dtype) + theta[:, -1].astype(rows.dtype)
        if self.labels.ndim == 1:
            _softmax_loss_in_place(logits, np.zeros(len(sampled_rows), np.int64))
            logits[:, 0] += 1
        else:
            _sigmoid_loss_in_place(logits, np.zeros(logits.shape, np.int8))
        curvature = np.maximum((logits * (1 - logits)).mean(axis=0, dtype=np.float64), 1e-4)
        curvature_per_parameter = np.outer(curvature, np.append(self._variance, 1.0))
        curvature_per_parameter[:, :-1] += l2
        return np.asarray(1 / np.sqrt(curvature_per_parameter))


def _principal_axes(features: Numbers, mean: Float) -> tuple[Float, Float]:
    """Return axes (F, R) along which features are uncorrelated, and the variances (R,)."""
    n, width = features.shape
    if width <= n:
        covariance = np.zeros((width, width))
        for start in range(0, n, ROWS_PER_BLOCK):
            block = features[start : start + ROWS_PER_BLOCK] - mean
            covariance += block.T @ block
        variance, axes = np.linalg.eigh(covariance / n)
    else:
        centered = features - mean
        variance, vectors = np.linalg.eigh(centered @ centered.T / n)
        axes = centered.T @ (vectors / np.sqrt(np.maximum(n * variance, 1e-300)))
    has_variance = variance > max(variance[-1], 0.0) * 1e-12
    return np.ascontiguousarray(axes[:, has_variance]), variance[has_variance]


def _softmax_loss_in_place(logits: Numbers, labels: Int) -> float:
    """Return the summed cross-entropy; logits (m, C) become probabilities minus the labels."""
    logits -= logits.max(axis=1, keepdims=True)
    label_position = np.arange(len(logits)), labels
    label_logit_sum = float(logits[label_position].sum(dtype=np.float64))
    np.exp(logits, out=logits)
    total = logits.sum(axis=1, keepdims=True)
    logits /= total
    logits[label_position] -= 1
    return float(np.log(total).sum(dtype=np.float64)) - label_logit_sum


def _sigmoid_loss_in_place(logits: Numbers, labels: Numbers) -> float:
    """Do the same for one-vs-rest problems: labels (m, C) of 1, 0 and -1."""
    truth, counted = labels == 1, labels >= 0
    loss = np.logaddexp(0, logits) - truth * logits
    np.negative(logits, out=logits)
    np.exp(np.minimum(logits, 80), out=logits)
    np.reciprocal(1 + logits, out=logits)
    logits -= truth
    logits *= counted
    return float(loss[counted].sum(dtype=np.float64))
