"""Linear probe: logistic regression on frozen features, its L2 penalty selected on validation.

The built-in benchmarks standardize the features by the training split and follow a short path of
penalties; the published protocols follow Radford et al. (2021), appendix A.3: seven penalties two
decades apart, then half the distance around the best, down to eight a decade (15 fits). Either way
fits are warm-started from the nearest stronger penalty, the stronger of a tie is selected, the last
fit is on training and validation together, and the test split is used once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from uniclip.evaluate import metrics
from uniclip.evaluate.metrics import Int, Metric, Numbers
from uniclip.evaluate.protocols.protocol import GRADIENT_TOLERANCE, L2_VALUES, LinearProbeConfig
from uniclip.evaluate.scoring.logistic_regression import LogisticRegression, LogisticRegressionFit

ScoreFunction = Callable[[LogisticRegressionFit], float]


class ProbeFitter(Protocol):
    """Fits probes to one split: `LogisticRegression`, or a `ProbeFitCache` around it."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""

    def fit(
        self,
        l2: float,
        initial_fit: LogisticRegressionFit | None = None,
        tolerance: float = GRADIENT_TOLERANCE,
    ) -> LogisticRegressionFit:
        """Return the optimum at penalty `l2`."""


FitterFactory = Callable[["LabelledFeatures", int], ProbeFitter]
"""Returns the fitter of a split, given the number of classes."""


@dataclass(frozen=True)
class LabelledFeatures:
    """Features and labels of one split."""

    features: Numbers
    """(n, F)."""
    labels: Numbers
    """(n,) int64 classes; or, for multi-label data, (n, C) of 1 (present), 0 (absent) and -1
    (excluded)."""


def build_regression(labelled_features: LabelledFeatures, num_classes: int) -> LogisticRegression:
    """Return the regression of one split, without a cache."""
    return LogisticRegression(labelled_features.features, labelled_features.labels, num_classes)


def fit_probe(
    labelled_features: LabelledFeatures,
    num_classes: int,
    l2: float,
    initial_fit: LogisticRegressionFit | None = None,
    tolerance: float = GRADIENT_TOLERANCE,
) -> LogisticRegressionFit:
    """Fit a probe, from `initial_fit` if there is one; `l2` is relative to the mean loss."""
    return build_regression(labelled_features, num_classes).fit(l2, initial_fit, tolerance)


def search_path(
    regression: LogisticRegression, score_fit: ScoreFunction, l2_values: Sequence[float] = L2_VALUES
) -> tuple[LogisticRegressionFit, float]:
    """Return the best fit by `score_fit` along a path of penalties, and its score."""
    probe, best, best_score = None, None, -np.inf
    for l2 in sorted(l2_values, reverse=True):
        probe = regression.fit(l2, probe)
        score = score_fit(probe)
        if score > best_score:
            best, best_score = probe, score
    assert best is not None, "no penalty to select from"
    return best, best_score


def search_grid(
    fitter: ProbeFitter, score_fit: ScoreFunction, probe_config: LinearProbeConfig, l2_unit: float
) -> tuple[LogisticRegressionFit, float]:
    """Return the best fit on the grid of `probe_config`, searched coarse to fine, and its score.

    l2_unit: the protocol's penalty of 1, relative to the mean loss: 1 / n, times the correction for
    the scale of the features.
    """
    grid = probe_config.build_l2_grid()
    scored_fits: dict[int, tuple[float, LogisticRegressionFit]] = {}

    def evaluate_point(grid_index: int) -> None:
        if not 0 <= grid_index < len(grid) or grid_index in scored_fits:
            return
        stronger_indices = [t for t in scored_fits if t > grid_index] or list(scored_fits)
        nearest_index = min(stronger_indices, key=lambda t: abs(t - grid_index), default=None)
        initial_fit = None if nearest_index is None else scored_fits[nearest_index][1]
        probe = fitter.fit(grid[grid_index] * l2_unit, initial_fit, tolerance)
        scored_fits[grid_index] = score_fit(probe), probe

    step, tolerance = probe_config.step, probe_config.tolerance / fitter.num_classes
    for grid_index in range(len(grid) - 1, -1, -step):
        evaluate_point(grid_index)
    while step > 1:
        step //= 2
        best_index = _best_index(scored_fits)
        evaluate_point(best_index + step)
        evaluate_point(best_index - step)
    score, probe = scored_fits[_best_index(scored_fits)]
    return probe, score


def fit_and_predict(
    train: LabelledFeatures, validation: LabelledFeatures, test: LabelledFeatures, num_classes: int
) -> tuple[Int, LogisticRegressionFit]:
    """Return predictions (n_test,) int64 of a probe of the built-in benchmarks, and the probe.

    The probe applies to standardized features.
    """
    mean = train.features.mean(axis=0, dtype=np.float64)
    std = train.features.std(axis=0, dtype=np.float64)
    std[std == 0] = 1.0
    train, validation, test = (
        LabelledFeatures((p.features - mean) / std, p.labels) for p in (train, validation, test)
    )
    best_fit, _ = search_path(
        LogisticRegression(train.features, train.labels, num_classes),
        _make_accuracy_score(validation),
    )
    probe = fit_probe(_concatenate(train, validation), num_classes, best_fit.l2, best_fit)
    return probe.predict(test.features), probe


@dataclass(frozen=True)
class LinearProbeResult:
    """The probe of a published protocol."""

    probe: LogisticRegressionFit
    """In the features after `scale_features`."""
    protocol_l2: float
    """The protocol's lambda, relative to the sum of the losses."""
    validation_score: float
    """The metric on the validation split, before the refit."""


def fit_protocol_probe(
    train: LabelledFeatures,
    validation: LabelledFeatures,
    num_classes: int,
    probe_config: LinearProbeConfig,
    metric: Metric,
    build_fitter: FitterFactory = build_regression,
    train_tolerance: float | None = None,
) -> LinearProbeResult:
    """Return a probe selected by `metric` on validation and refitted on both splits.

    With `train_tolerance`, the last fit is to the training split alone, to that tolerance.

    Features are divided by their root mean square, so that the tolerance means the same for every
    encoder; the optimum is that of the undivided features.
    """
    rows = scale_features(train.features, probe_config)
    feature_rms = float(np.sqrt(np.mean(np.square(rows, dtype=np.float64)))) or 1.0
    train = LabelledFeatures(rows / feature_rms, train.labels)
    validation = LabelledFeatures(
        scale_features(validation.features, probe_config) / feature_rms, validation.labels
    )

    def score_fit(probe: LogisticRegressionFit) -> float:
        return metrics.compute_score(
            metric, probe.decision_function(validation.features), validation.labels
        )

    l2_unit = 1 / (feature_rms * feature_rms * len(rows))
    fitter, tolerance = build_fitter(train, num_classes), train_tolerance
    best_fit, score = search_grid(fitter, score_fit, probe_config, l2_unit)
    l2 = best_fit.l2
    if tolerance is None:
        train_and_validation = _concatenate(train, validation)
        l2 = l2 * len(rows) / len(train_and_validation.labels)
        fitter, tolerance = build_fitter(train_and_validation, num_classes), probe_config.tolerance
    probe = fitter.fit(l2, best_fit, tolerance / num_classes)
    rescaled_probe = replace(
        probe, weight=probe.weight / feature_rms, l2=l2 * feature_rms * feature_rms
    )
    return LinearProbeResult(rescaled_probe, best_fit.l2 / l2_unit, score)


def scale_features(features: Numbers, probe_config: LinearProbeConfig) -> Numbers:
    """Return features (n, F) scaled as the protocol's probe requires."""
    if probe_config.feature_scaling == "none":
        return features
    norm = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(norm, np.finfo(np.float32).tiny))


def _best_index(scored_fits: dict[int, tuple[float, LogisticRegressionFit]]) -> int:
    return max(scored_fits, key=lambda grid_index: (scored_fits[grid_index][0], grid_index))


def _concatenate(train: LabelledFeatures, validation: LabelledFeatures) -> LabelledFeatures:
    return LabelledFeatures(
        np.concatenate([train.features, validation.features]),
        np.concatenate([train.labels, validation.labels]),
    )


def _make_accuracy_score(labelled_features: LabelledFeatures) -> ScoreFunction:
    return lambda probe: float(
        (probe.predict(labelled_features.features) == labelled_features.labels).mean()
    )
