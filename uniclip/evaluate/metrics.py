"""Metrics in numpy: win rates, recall under ties, average precision, calibration, chance levels.

Two similarities closer than `TIE_TOLERANCE` are tied: it is the rounding of a float32 cosine, and
the order of equal keys must not matter. A tie counts at its expectation over random orders of its
members, so a constant model scores exactly at chance.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Metric = Literal[
    "accuracy",
    "mean_per_class",
    "map11",
    "map",
    "recall",
    "f1_macro",
    "worst_group",
    "worst_group_top5",
    "jaccard",
]
"""Accuracy; mean recall of the classes present; 11-point interpolated mAP (VOC 2007);
non-interpolated mAP; R@k both ways; mean F1 of the classes present; top-1 and top-5 accuracy of the
worst group; Jaccard index."""

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Numbers = NDArray[Any]
"""An array of any numeric dtype: numpy's types cannot state that a function takes float32 and
float64, or labels of any integer type."""

TIE_TOLERANCE = 1e-6
"""Cosines closer than this are tied."""


def compute_win_rate(true_similarity: Numbers, wrong_similarities: Numbers) -> Float:
    """Return how often the true one of a pair scores higher, ties counting 0.5; chance is 0.5.

    Args:
        true_similarity: (n,).
        wrong_similarities: (n, k) similarities of the k alternatives to each.

    Returns:
        (n,) float64 in [0, 1], the mean over the alternatives.
    """
    margin = true_similarity[:, None].astype(np.float64) - wrong_similarities.astype(np.float64)
    wins = np.where(np.abs(margin) > TIE_TOLERANCE, margin > 0, 0.5)
    return np.asarray(wins.mean(axis=1))


def hit_probability(
    num_right: Numbers | int, num_wrong: Numbers | int, num_draws: Numbers | int
) -> Float:
    """Return the probability that draws without replacement contain a right key, float64.

    All arguments are int64 counts and broadcast; `num_draws` below 1 gives 0. This is the chance
    level of R@k (k draws among all keys) and the expectation of a hit within a tie.
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


def softmax(logits: Numbers) -> Float:
    """Return rows (n, C) of logits as probabilities, float64."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def calibration_error(confidence: Numbers, outcome: Numbers, bins: int = 15) -> float:
    """Return the expected calibration error (Guo et al., ICML 2017): mean |accuracy - confidence|.

    Args:
        confidence: (n,) probability of the predicted class.
        outcome: (n,) in [0, 1].
        bins: Number of bins of equal width on (0, 1] within which both are compared.
    """
    confidence, outcome = confidence.astype(np.float64), outcome.astype(np.float64)
    bin_index = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(bin_index, weights=outcome - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def top_k_correct(scores: Numbers, labels: Numbers, k: int = 1) -> Float:
    """Return whether the true class is among the k highest scores, (n,) float64 in [0, 1].

    Scores (n, C) are compared exactly; ties count at their expectation. labels: (n,) int64.
    """
    label_scores = scores[np.arange(len(scores)), labels][:, None]
    num_above = (scores > label_scores).sum(axis=1)
    return hit_probability(1, (scores == label_scores).sum(axis=1) - 1, k - num_above)


def mean_per_class(outcome: Numbers, labels: Numbers) -> float:
    """Return the mean over classes of the mean outcome (n,) in each; labels: (n,) int64.

    Classes without a sample do not count (Kornblith et al., CVPR 2019; scikit-learn's
    `balanced_accuracy_score`).
    """
    counts = np.bincount(labels)
    sums = np.bincount(labels, weights=outcome.astype(np.float64))
    return float((sums[counts > 0] / counts[counts > 0]).mean())


def f1_macro(prediction: Numbers, labels: Numbers) -> float:
    """Return the mean F1 of the classes that occur among the labels (WILDS' F1-macro).

    prediction, labels: (n,) int64.
    """
    num_classes = int(max(prediction.max(), labels.max())) + 1
    true_positives = np.bincount(labels[prediction == labels], minlength=num_classes)
    num_labelled = np.bincount(labels, minlength=num_classes)
    num_predicted = np.bincount(prediction, minlength=num_classes)
    is_present = num_labelled > 0
    f1 = 2 * true_positives[is_present] / (num_labelled + num_predicted)[is_present]
    return float(f1.mean())


def group_means(outcome: Numbers, groups: Numbers) -> dict[int, float]:
    """Return the mean outcome (n,) of each group that occurs; -1 is no group.

    groups: (n,) int64.
    """
    return {
        int(group): float(outcome[groups == group].mean())
        for group in np.unique(groups)
        if group >= 0
    }


def precision_recall(scores: Numbers, truth: Numbers) -> tuple[Float, Float]:
    """Return precision and recall at each distinct threshold, from the highest down.

    Args:
        scores: (n,). Equal scores share a threshold, so the order of samples does not matter.
        truth: (n,) of 1, 0 and -1 (excluded); at least one must be 1.
    """
    counted = truth >= 0
    scores, truth = scores[counted], truth[counted] == 1
    assert truth.any(), "a class without a positive has no precision curve"
    order = np.argsort(-scores, kind="stable")
    threshold_index = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true_positives = np.cumsum(truth[order])[threshold_index]
    return true_positives / (threshold_index + 1.0), true_positives / truth.sum()


def interpolated_average_precision(scores: Numbers, truth: Numbers) -> float:
    """Return the 11-point interpolated average precision (Everingham et al., 2010, VOC 2007).

    The mean over r = 0, 0.1 .. 1 of the highest precision at a recall of r or more. Arguments as in
    `precision_recall`.
    """
    precision, recall = precision_recall(scores, truth)
    # Recall is a ratio of counts: 3 of 10 must reach 0.3 however either is rounded.
    return float(np.mean([precision[recall >= r / 10 - 1e-12].max() for r in range(11)]))


def average_precision(scores: Numbers, truth: Numbers) -> float:
    """Return the average precision (scikit-learn's `average_precision_score`)."""
    precision, recall = precision_recall(scores, truth)
    return float((np.diff(recall, prepend=0) * precision).sum())


def area_under_roc(scores: Numbers, truth: Numbers) -> float:
    """Return the area under the receiver operating characteristic (scikit-learn's `roc_auc_score`).

    The probability that a positive sample scores higher than a negative one, ties counting 0.5.

    Args:
        scores: (n,).
        truth: (n,) of 1 and 0, both of which occur.
    """
    _, rank_index, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    num_positive, num_negative = int((truth == 1).sum()), int((truth == 0).sum())
    rank_sum = float(mean_ranks[rank_index][truth == 1].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative)


def class_average_precisions(metric: Metric, scores: Numbers, truth: Numbers) -> Float:
    """Return the average precision of each class, (C,); NaN for a class without a positive.

    Args:
        metric: map11 or map.
        scores: (n, C).
        truth: (n, C) of 1, 0 and -1 (excluded).
    """
    precision_function = {"map11": interpolated_average_precision, "map": average_precision}[metric]
    values = [
        precision_function(scores[:, c], truth[:, c]) if (truth[:, c] == 1).any() else np.nan
        for c in range(scores.shape[1])
    ]
    return np.array(values)


def compute_score(metric: Metric, scores: Numbers, truth: Numbers) -> float:
    """Return the value of a classification metric, in [0, 1].

    Args:
        metric: Any but recall.
        scores: (n, C).
        truth: (n,) int64 classes for accuracy and mean_per_class; (n, C) of 1, 0 and -1 for map11
            and map, where classes without a positive do not count.
    """
    if metric in ("map11", "map"):
        return float(np.nanmean(class_average_precisions(metric, scores, truth)))
    outcome = top_k_correct(scores, truth)
    return mean_per_class(outcome, truth) if metric == "mean_per_class" else float(outcome.mean())


def chance_level(metric: Metric, truth: Numbers, num_classes: int) -> float:
    """Return the score of a constant model: 1 / classes, or for mAP the mean share of positives.

    Arguments as in `compute_score`.
    """
    if metric not in ("map11", "map"):
        return 1 / num_classes
    num_positive, num_counted = (truth == 1).sum(axis=0), (truth >= 0).sum(axis=0)
    return float((num_positive[num_positive > 0] / num_counted[num_positive > 0]).mean())
