"""Differences of the scores of two models on the same test samples, with paired intervals.

The interval is for new test samples and these two models: the mean of the paired differences of
outcomes, with the standard error that is robust to clusters (Liang and Zeger, Biometrika 1986;
Miller, arXiv:2411.00640, 2024) and Student's t with one degree of freedom fewer than clusters. It
says nothing about other seeds of a training: for those, a sweep trains several. A mean per class is
a smooth function of the means of the classes: in the place of a sample's distance from the mean of
all stands its influence, its distance from the mean of its class, divided by the share of the class
times the number of classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from uniclip.evaluate.metrics import Numbers, mean_per_class
from uniclip.evaluate.outcome_clusters import find_clusters
from uniclip.store import Score

CONFIDENCE = 0.95
MIN_CLUSTERS = 2


@dataclass(frozen=True, kw_only=True)
class ScoreDifference:
    """The difference of one score between two models."""

    score: str
    kind: str
    difference: float
    """That of the second model minus that of the first."""
    low: float | None = None
    high: float | None = None
    """95 % interval; None for a score that is no mean over samples or classes, or without common
    samples."""
    num_samples: int | None = None
    num_clusters: int | None = None


def compare_scores(
    first: tuple[Sequence[Score], Mapping[str, Numbers]],
    second: tuple[Sequence[Score], Mapping[str, Numbers]],
) -> list[ScoreDifference]:
    """Return the differences of the scores that both models have, in the order of the second.

    Args:
        first: Scores and predictions of the first model on a data set.
        second: Those of the second on the same data set.
    """
    (first_scores, first_arrays), (second_scores, second_arrays) = first, second
    first_by_name = {score.name: score for score in first_scores}
    has_same_samples = np.array_equal(first_arrays["ids"], second_arrays["ids"])
    differences = []
    for score in second_scores:
        if score.name not in first_by_name:
            continue
        outcomes = [arrays.get(score.name) for arrays in (first_arrays, second_arrays)]
        classes = None
        if all(values is None for values in outcomes):
            pair = ((first_by_name[score.name], first_arrays), (score, second_arrays))
            outcomes = [find_class_outcomes(*scored) for scored in pair]
            classes = second_arrays.get("labels")
        interval = None
        if has_same_samples and outcomes[0] is not None and outcomes[1] is not None:
            clusters = find_clusters(score.name, len(outcomes[1]), second_arrays)
            interval = estimate_paired_difference(outcomes[0], outcomes[1], clusters, classes)
        differences.append(
            ScoreDifference(
                score=score.name,
                kind=score.kind,
                difference=score.value - first_by_name[score.name].value,
                **({} if interval is None else vars(interval)),
            )
        )
    return differences


@dataclass(frozen=True)
class PairedInterval:
    """The interval of a mean of paired differences."""

    low: float
    high: float
    num_samples: int
    num_clusters: int


def estimate_paired_difference(
    first: Numbers,
    second: Numbers,
    clusters: Numbers | None = None,
    classes: Numbers | None = None,
) -> PairedInterval | None:
    """Return the 95 % interval of the mean, or of the mean per class, of `second` - `first`.

    Args:
        first: (n,) outcomes of the first model.
        second: (n,) outcomes of the second on the same samples.
        clusters: (n,) samples with equal values are of one cluster; None: each is its own.
        classes: (n,) class of each sample, for the mean per class.

    Returns:
        The interval; None if the numbers of samples (or clusters) differ, for fewer than two
        clusters, or if a class has a single sample.
    """
    if len(first) != len(second) or (clusters is not None and len(clusters) != len(second)):
        return None
    differences = second.astype(np.float64) - first.astype(np.float64)
    n, mean = len(differences), float(differences.mean())
    sums = differences - mean
    if classes is not None:
        _, index, counts = np.unique(classes, return_inverse=True, return_counts=True)
        if counts.min() < MIN_CLUSTERS:
            return None
        class_means = np.bincount(index, differences) / counts
        mean = float(class_means.mean())
        scale = np.sqrt(counts / (counts - 1)) * n / (counts * len(counts))
        sums = (differences - class_means[index]) * scale[index]
    if clusters is not None:
        _, index = np.unique(clusters, return_inverse=True)
        sums = np.bincount(index, sums).astype(np.float64)
    if len(sums) < MIN_CLUSTERS:
        return None
    from scipy import special  # here: it takes long to import

    variance = len(sums) / (len(sums) - 1) * float(sums @ sums) / n**2
    half_width = float(special.stdtrit(len(sums) - 1, 0.5 + CONFIDENCE / 2)) * math.sqrt(variance)
    return PairedInterval(mean - half_width, mean + half_width, n, len(sums))


def find_class_outcomes(score: Score, arrays: Mapping[str, Numbers]) -> Numbers | None:
    """Return the outcomes (n,) of which a score is the mean per class; None if it is none."""
    name = score.name.removesuffix(".mean_per_class")
    outcomes = arrays.get(f"{name}.accuracy" if name == score.name else name)
    labels = arrays.get("labels")
    if score.kind != "accuracy" or outcomes is None or labels is None:
        return None
    if len(outcomes) != len(labels) or labels.ndim != 1 or labels.min() < 0:
        return None
    is_mean = math.isclose(mean_per_class(outcomes, labels), score.value, abs_tol=1e-9)
    return outcomes if is_mean else None
