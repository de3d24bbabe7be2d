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
from uniclip.evaluate.protocols.protocol import STRENGTHS, TOLERANCE, Metric, Probing
from uniclip.evaluate.scoring.logistic_regression import Probe, Problem

Judge = Callable[[Probe], float]


class Fits(Protocol):
    """What fits probes to one part: `logistic.Problem`, or one whose fits are kept."""

    @property
    def classes(self) -> int:
        """How many there are."""

    def fit(
        self, strength: float, start: Probe | None = None, tolerance: float = TOLERANCE
    ) -> Probe:
        """The optimum at `strength`."""


Prepare = Callable[["Part", int], Fits]
"""A part and the number of classes to what fits probes to it."""


@dataclass(frozen=True)
class Part:
    """One split as a probe sees it."""

    features: NDArray[Any]
    """(n, F)."""
    labels: NDArray[Any]
    """(n,) int64 classes; or, where a picture has several labels, (n, C) of 1 (is), 0 (is not) and
    -1 (not counted)."""


def prepared(part: Part, classes: int) -> Problem:
    """The problem of one part; nothing of it is kept."""
    return Problem(part.features, part.labels, classes)


def fit(
    part: Part,
    classes: int,
    strength: float,
    start: Probe | None = None,
    tolerance: float = TOLERANCE,
) -> Probe:
    """Fit a probe to `part`, from `start` if there is one; the strength is beside the mean loss."""
    return prepared(part, classes).fit(strength, start, tolerance)


def follow(
    problem: Problem, judge: Judge, strengths: Sequence[float] = STRENGTHS
) -> tuple[Probe, float]:
    """The best probe along a path of strengths, by the judge's score, and that score."""
    probe, best, best_score = None, None, -np.inf
    for strength in sorted(strengths, reverse=True):
        probe = problem.fit(strength, probe)
        score = judge(probe)
        if score > best_score:
            best, best_score = probe, score
    assert best is not None, "no strength to choose from"
    return best, best_score


def search(problem: Fits, judge: Judge, settings: Probing, unit: float) -> tuple[Probe, float]:
    """The best probe on the grid of `settings`, coarse to fine, and its score.

    unit: what a strength of the protocol is beside the mean loss: 1 / n, times what the scale of
    the features asks for.
    """
    grid = settings.strengths()
    tried: dict[int, tuple[float, Probe]] = {}

    def visit(place: int) -> None:
        if not 0 <= place < len(grid) or place in tried:
            return
        stronger = [t for t in tried if t > place] or list(tried)
        start = min(stronger, key=lambda t: abs(t - place), default=None)
        warm = None if start is None else tried[start][1]
        probe = problem.fit(grid[place] * unit, warm, tolerance)
        tried[place] = judge(probe), probe

    step, tolerance = settings.apart, settings.tolerance / problem.classes
    for place in range(len(grid) - 1, -1, -step):
        visit(place)
    while step > 1:
        step //= 2
        peak = _best(tried)
        visit(peak + step)
        visit(peak - step)
    score, probe = tried[_best(tried)]
    return probe, score


def linear_probe(train: Part, validation: Part, test: Part, classes: int) -> tuple[Int, Probe]:
    """Predictions (n_test,) int64 of a probe as our own benchmarks make it, and the probe.

    The probe is in standardised features.
    """
    mean = train.features.mean(axis=0, dtype=np.float64)
    deviation = train.features.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = 1.0
    train, validation, test = (
        Part((p.features - mean) / deviation, p.labels) for p in (train, validation, test)
    )
    chosen, _ = follow(Problem(train.features, train.labels, classes), _accuracy_on(validation))
    probe = fit(_together(train, validation), classes, chosen.strength, chosen)
    return probe.predict(test.features), probe


@dataclass(frozen=True)
class Probed:
    """A probe as a published protocol makes it."""

    probe: Probe
    """In the features as they were given, after `Probing.scale`."""
    strength: float
    """The protocol's lambda, beside the sum of the losses."""
    validation: float
    """The metric on the validation split, before the refit."""


def protocol_probe(
    train: Part,
    validation: Part,
    classes: int,
    settings: Probing,
    metric: Metric,
    prepare: Prepare = prepared,
) -> Probed:
    """A probe chosen by `metric` on validation and refitted on both.

    The features' root mean square is taken as their unit, so that the tolerance means the same for
    every encoder; the optimum is that of the features as they are.
    """
    rows = scaled(train.features, settings)
    size = float(np.sqrt(np.mean(np.square(rows, dtype=np.float64)))) or 1.0
    train = Part(rows / size, train.labels)
    validation = Part(scaled(validation.features, settings) / size, validation.labels)

    def judge(probe: Probe) -> float:
        return metrics.score(metric, probe.decide(validation.features), validation.labels)

    unit = 1 / (size * size * len(rows))
    chosen, score = search(prepare(train, classes), judge, settings, unit)
    both = _together(train, validation)
    strength = chosen.strength * len(rows) / len(both.labels)
    probe = prepare(both, classes).fit(strength, chosen, settings.tolerance / classes)
    final = replace(probe, weight=probe.weight / size, strength=strength * size * size)
    return Probed(final, chosen.strength / unit, score)


def scaled(features: NDArray[Any], settings: Probing) -> NDArray[Any]:
    """Features (n, F) as the protocol's probe sees them."""
    if settings.scale == "as it is":
        return features
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, np.finfo(np.float32).tiny))


def _best(tried: dict[int, tuple[float, Probe]]) -> int:
    return max(tried, key=lambda place: (tried[place][0], place))


def _together(train: Part, validation: Part) -> Part:
    return Part(
        np.concatenate([train.features, validation.features]),
        np.concatenate([train.labels, validation.labels]),
    )


def _accuracy_on(part: Part) -> Judge:
    return lambda probe: float((probe.predict(part.features) == part.labels).mean())
