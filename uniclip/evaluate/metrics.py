"""Measures of outcomes, in numpy alone: wins, recall under ties, calibration, and chance levels.

Two similarities closer than `TIE` are a tie: that is the rounding of a float32 cosine, and which of
two equal keys comes first must decide nothing. A tie is counted at its expectation when its members
are put in random order, so a model that says the same of everything scores exactly chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from uniclip.evaluate.protocols.protocol import Metric

Float = NDArray[np.float64]
Int = NDArray[np.int64]

TIE_TOLERANCE = 1e-6
"""Cosines closer than this are a tie."""


def compute_win_rate(true_similarity: NDArray[Any], wrong_similarities: NDArray[Any]) -> Float:
    """How often the right one of a pair scores higher, a tie counting one half; chance is 0.5.

    right: (n,) similarities. wrong: (n, k), of the k alternatives to each. Returns (n,) float64 in
    [0, 1]: the mean over the alternatives.
    """
    margin = true_similarity[:, None].astype(np.float64) - wrong_similarities.astype(np.float64)
    return np.where(np.abs(margin) > TIE_TOLERANCE, margin > 0, 0.5).mean(axis=1)


def hit_probability(
    num_right: NDArray[Any] | int, num_wrong: NDArray[Any] | int, num_draws: NDArray[Any] | int
) -> Float:
    """The probability that `draws` of right + wrong keys, without replacement, hold a right one.

    All arguments are counts, int64, and broadcast; `draws` below 1 gives 0. This is the chance
    level of R@k (draws = k among all keys) and the expectation of a hit within a tie.
    """
    num_right, num_wrong, num_draws = np.broadcast_arrays(num_right, num_wrong, num_draws)
    miss_probability = np.ones(num_right.shape)
    for draw in range(int(num_draws.max(initial=0))):
        remaining_wrong = np.maximum(num_wrong - draw, 0)
        miss_probability = np.where(
            draw < num_draws,
            miss_probability * remaining_wrong / np.maximum(num_right + remaining_wrong, 1),
            miss_probability,
        )
    return 1.0 - miss_probability


def softmax(logits: NDArray[Any]) -> Float:
    """Rows (n, C) of logits as probabilities, float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def calibration_error(confidence: NDArray[Any], outcome: NDArray[Any], bins: int = 15) -> float:
    """Expected calibration error (Guo et al., ICML 2017): mean |accuracy - confidence|.

    confidence: (n,) probability of the predicted class. outcome: (n,) in [0, 1]. Compared within
    `bins` bins of equal width on (0, 1].
    """
    confidence, outcome = confidence.astype(np.float64), outcome.astype(np.float64)
    bin_index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(bin_index, weights=outcome - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def top_k_correct(scores: NDArray[Any], labels: NDArray[Any], k: int = 1) -> Float:
    """Whether the true class is among the k highest scores, (n,) float64 in [0, 1].

    scores: (n, C), compared exactly. labels: (n,) int64. A tie is counted at its expectation.
    """
    label_scores = scores[np.arange(len(scores)), labels][:, None]
    num_above = (scores > label_scores).sum(axis=1)
    return hit_probability(1, (scores == label_scores).sum(axis=1) - 1, k - num_above)


def mean_per_class(outcome: NDArray[Any], labels: NDArray[Any]) -> float:
    """The mean over classes of the mean outcome (n,) in each; labels: (n,) int64.

    A class without a sample does not count (Kornblith et al., CVPR 2019; scikit-learn's
    `balanced_accuracy_score`).
    """
    counts = np.bincount(labels)
    sums = np.bincount(labels, weights=outcome.astype(np.float64))
    return float((sums[counts > 0] / counts[counts > 0]).mean())


def precision_recall(scores: NDArray[Any], truth: NDArray[Any]) -> tuple[Float, Float]:
    """Precision and recall at each distinct threshold, from the highest down.

    scores: (n,). truth: (n,) of 1, 0 and -1; -1 is left out. Equal scores fall together, so the
    order of samples decides nothing. At least one must be 1.
    """
    counted = truth >= 0
    scores, truth = scores[counted], truth[counted] == 1
    assert truth.any(), "a class without a positive has no precision curve"
    order = np.argsort(-scores, kind="stable")
    threshold_index = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true_positives = np.cumsum(truth[order])[threshold_index]
    return true_positives / (threshold_index + 1.0), true_positives / truth.sum()


def interpolated_average_precision(scores: NDArray[Any], truth: NDArray[Any]) -> float:
    """11-point interpolated average precision (Everingham et al., 2010, VOC 2007).

    The mean over r = 0, 0.1 .. 1 of the highest precision at a recall of r or more. Arguments as in
    `precision_recall`.
    """
    precision, recall = precision_recall(scores, truth)
    # Recall is a ratio of counts: 3 of 10 must reach 0.3 whatever the rounding of either.
    return float(np.mean([precision[recall >= r / 10 - 1e-12].max() for r in range(11)]))


def average_precision(scores: NDArray[Any], truth: NDArray[Any]) -> float:
    """Non-interpolated average precision (scikit-learn's `average_precision_score`)."""
    precision, recall = precision_recall(scores, truth)
    return float((np.diff(recall, prepend=0) * precision).sum())


def class_average_precisions(metric: Metric, scores: NDArray[Any], truth: NDArray[Any]) -> Float:
    """Average precision of each class, (C,); nan for a class without a positive.

    metric: map11 or map. scores: (n, C). truth: (n, C) of 1, 0 and -1 (left out).
    """
    precision_function = {"map11": interpolated_average_precision, "map": average_precision}[metric]
    values = [
        precision_function(scores[:, c], truth[:, c]) if (truth[:, c] == 1).any() else np.nan
        for c in range(scores.shape[1])
    ]
    return np.array(values)


def compute_score(metric: Metric, scores: NDArray[Any], truth: NDArray[Any]) -> float:
    """The value of a classification metric in [0, 1].

    scores: (n, C). truth: (n,) int64 classes for accuracy and mean_per_class; (n, C) of 1, 0 and -1
    for map11 and map, where a class without a positive does not count.
    """
    if metric in ("map11", "map"):
        return float(np.nanmean(class_average_precisions(metric, scores, truth)))
    outcome = top_k_correct(scores, truth)
    return mean_per_class(outcome, truth) if metric == "mean_per_class" else float(outcome.mean())


def chance_level(metric: Metric, truth: NDArray[Any], num_classes: int) -> float:
    """What a model scores that says the same of everything.

    Arguments as in `score`: 1 / classes for accuracies; the mean share of positives for mAP.
    """
    if metric not in ("map11", "map"):
        return 1 / num_classes
    num_positive, num_counted = (truth == 1).sum(axis=0), (truth >= 0).sum(axis=0)
    return float((num_positive[num_positive > 0] / num_counted[num_positive > 0]).mean())
