"""Linear probe: logistic regression on frozen features, its strength chosen on validation.

Our own benchmarks standardise the features by the training split and follow a short path of
strengths; the published protocols follow Radford et al. (2021), appendix A.3: seven strengths two
decades apart, then half the distance around the best, down to eight a decade (15 fits). Either way
fits are warm-started from the nearest stronger one, the stronger of a tie is chosen, the last fit
is on training and validation together, and the test split is used once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate import metrics
from uniclip.evaluate.metrics import Int
from uniclip.evaluate.protocols.protocol import (
    GRADIENT_TOLERANCE,
    L2_VALUES,
    LinearProbeConfig,
    Metric,
)
from uniclip.evaluate.scoring.logistic_regression import LogisticRegression, LogisticRegressionFit

ScoreFunction = Callable[[LogisticRegressionFit], float]


class ProbeFitter(Protocol):
    """What fits probes to one part: `logistic.Problem`, or one whose fits are kept."""

    @property
    def num_classes(self) -> int:
        """How many there are."""

    def fit(
        self,
        l2: float,
        initial_fit: LogisticRegressionFit | None = None,
        tolerance: float = GRADIENT_TOLERANCE,
    ) -> LogisticRegressionFit:
        """The optimum at `strength`."""


FitterFactory = Callable[["LabelledFeatures", int], ProbeFitter]
"""A part and the number of classes to what fits probes to it."""


@dataclass(frozen=True)
class LabelledFeatures:
    """One split as a probe sees it."""

    features: NDArray[Any]
    """(n, F)."""
    labels: NDArray[Any]
    """(n,) int64 classes; or, where a picture has several labels, (n, C) of 1 (is), 0 (is not) and
    -1 (not counted)."""


def build_regression(labelled_features: LabelledFeatures, num_classes: int) -> LogisticRegression:
    """The problem of one part; nothing of it is kept."""
    return LogisticRegression(labelled_features.features, labelled_features.labels, num_classes)


def fit_probe(
    labelled_features: LabelledFeatures,
    num_classes: int,
    l2: float,
    initial_fit: LogisticRegressionFit | None = None,
    tolerance: float = GRADIENT_TOLERANCE,
) -> LogisticRegressionFit:
    """Fit a probe to `part`, from `start` if there is one; the strength is beside the mean loss."""
    return build_regression(labelled_features, num_classes).fit(l2, initial_fit, tolerance)


def search_path(
    regression: LogisticRegression, score_fit: ScoreFunction, l2_values: Sequence[float] = L2_VALUES
) -> tuple[LogisticRegressionFit, float]:
    """The best probe along a path of strengths, by the judge's score, and that score."""
    probe, best, best_score = None, None, -np.inf
    for l2 in sorted(l2_values, reverse=True):
        probe = regression.fit(l2, probe)
        score = score_fit(probe)
        if score > best_score:
            best, best_score = probe, score
    assert best is not None, "no strength to choose from"
    return best, best_score


def search_grid(
    fitter: ProbeFitter, score_fit: ScoreFunction, probe_config: LinearProbeConfig, l2_unit: float
) -> tuple[LogisticRegressionFit, float]:
    """The best probe on the grid of `settings`, coarse to fine, and its score.

    unit: what a strength of the protocol is beside the mean loss: 1 / n, times what the scale of
    the features asks for.
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
    """Predictions (n_test,) int64 of a probe as our own benchmarks make it, and the probe.

    The probe is in standardised features.
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
    """A probe as a published protocol makes it."""

    probe: LogisticRegressionFit
    """In the features as they were given, after `Probing.scale`."""
    protocol_l2: float
    """The protocol's lambda, beside the sum of the losses."""
    validation_score: float
    """The metric on the validation split, before the refit."""


def fit_protocol_probe(
    train: LabelledFeatures,
    validation: LabelledFeatures,
    num_classes: int,
    probe_config: LinearProbeConfig,
    metric: Metric,
    build_fitter: FitterFactory = build_regression,
) -> LinearProbeResult:
    """A probe chosen by `metric` on validation and refitted on both.

    The features' root mean square is taken as their unit, so that the tolerance means the same for
    every encoder; the optimum is that of the features as they are.
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
    best_fit, score = search_grid(
        build_fitter(train, num_classes), score_fit, probe_config, l2_unit
    )
    train_and_validation = _concatenate(train, validation)
    l2 = best_fit.l2 * len(rows) / len(train_and_validation.labels)
    probe = build_fitter(train_and_validation, num_classes).fit(
        l2, best_fit, probe_config.tolerance / num_classes
    )
    rescaled_probe = replace(
        probe, weight=probe.weight / feature_rms, l2=l2 * feature_rms * feature_rms
    )
    return LinearProbeResult(rescaled_probe, best_fit.l2 / l2_unit, score)


def scale_features(features: NDArray[Any], probe_config: LinearProbeConfig) -> NDArray[Any]:
    """Features (n, F) as the protocol's probe sees them."""
    if probe_config.feature_scaling == "as it is":
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
