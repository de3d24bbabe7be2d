"""Scores of one labelled data set under a published protocol, from embeddings alone.

No image is needed: with cached embeddings, a data set can be scored again under another template
or metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate import metrics
from uniclip.evaluate.checks import label_order
from uniclip.evaluate.metrics import Float, Metric, Numbers
from uniclip.evaluate.protocols.protocol import DatasetProtocol
from uniclip.evaluate.scoring import linear_probe, zero_shot
from uniclip.evaluate.scoring.linear_probe import LinearProbeResult
from uniclip.evaluate.scoring.retrieval import rank_keys
from uniclip.evaluate.scoring.score_card import ScoreCard
from uniclip.evaluate.scoring.score_names import CALIBRATION_ERROR, join_class_name

TOP_K = 5
GROUP_METRICS = {"worst_group": 1, "worst_group_top5": TOP_K}
"""Metric of the worst group -> k of its top-k accuracy."""


@dataclass(frozen=True)
class GroundTruth:
    """The labels of n images of a data set."""

    labels: Numbers
    """(n,) int64 classes; or (n, C) of 1 (present), 0 (absent) and -1 (excluded)."""
    classes: tuple[str, ...]
    """The data set's keys of its classes, in the order of its labels."""
    groups: Numbers | None = None
    """(n,) int64 group of each image, -1 for none; None without groups."""

    @property
    def is_multilabel(self) -> bool:
        """Whether an image may have several labels."""
        return self.labels.ndim == 2


def build_ground_truth(
    labels: Numbers,
    classes: Sequence[str],
    difficult: NDArray[np.bool_] | None = None,
    dataset_protocol: DatasetProtocol | None = None,
    groups: Numbers | None = None,
) -> GroundTruth:
    """Return the labels under a protocol: difficult (n, C) ones are excluded, or count as present.

    labels: (n,) int64, or (n, C) of 0 and 1.
    """
    if difficult is not None:
        as_present = (
            dataset_protocol is not None and dataset_protocol.difficult_objects == "present"
        )
        labels = np.where(difficult, 1 if as_present else -1, labels)
    return GroundTruth(labels, tuple(classes), groups)


def build_prompts(dataset_protocol: DatasetProtocol) -> list[list[str]]:
    """Return the prompts of each class, in the order of labels."""
    return [
        zero_shot.fill_templates(dataset_protocol.templates, names)
        for _, names in dataset_protocol.class_names
    ]


def score_zero_shot(
    score_card: ScoreCard,
    dataset_protocol: DatasetProtocol,
    images: Numbers,
    classifier: Numbers,
    truth: GroundTruth,
    logit_scale: float,
) -> None:
    """Add `zeroshot`, and as diagnostics top-5, mean per class, ECE and the label-order check.

    Args:
        score_card: Receives the scores.
        dataset_protocol: Defines the metric.
        images: (n, D) unit rows.
        classifier: (C, D) unit rows of `zero_shot.build_classifier`.
        truth: The labels.
        logit_scale: The model's multiplier of cosines; it affects the calibration error only.
    """
    if truth.is_multilabel:
        _add_multilabel_scores(
            score_card, "zeroshot", dataset_protocol.metric, images @ classifier.T, truth
        )
        return
    label_ranks = rank_keys(images, classifier, np.arange(len(images)), truth.labels, tie=0)
    prediction, confidence = zero_shot.predict(images, classifier, logit_scale)
    metric = dataset_protocol.metric
    _add_single_label_scores(score_card, "zeroshot", metric, label_ranks.hits(1), prediction, truth)
    if metric in GROUP_METRICS:
        k = GROUP_METRICS[metric]
        _add_worst_group(score_card, "zeroshot", label_ranks.hits(k), k, truth)
    if len(truth.classes) > TOP_K:
        score_card.add_outcomes(
            "zeroshot.top5",
            label_ranks.hits(TOP_K),
            kind="accuracy",
            chance=TOP_K / len(truth.classes),
            report_only=True,
        )
    ece = metrics.calibration_error(confidence, label_ranks.hits(1))
    score_card.add_scalar(
        f"zeroshot.{CALIBRATION_ERROR}", ece, kind="error", samples=len(images), report_only=True
    )
    permutation = label_order.find_class_permutation(prediction, truth.labels, len(truth.classes))
    score_card.add_array(
        "zeroshot.permuted_accuracy",
        np.array([permutation.accuracy, permutation.permuted_accuracy]),
    )
    score_card.add_array("zeroshot.labels_misordered", np.array([permutation.labels_misordered]))


def score_probe(
    score_card: ScoreCard,
    dataset_protocol: DatasetProtocol,
    probe_result: LinearProbeResult,
    test_features: Numbers,
    truth: GroundTruth,
) -> None:
    """Add `probe`, the score of `linear_probe.fit_protocol_probe` on test features (n, F)."""
    assert dataset_protocol.probe_config is not None, dataset_protocol.dataset
    scores = probe_result.probe.decision_function(
        linear_probe.scale_features(test_features, dataset_protocol.probe_config)
    )
    if truth.is_multilabel:
        _add_multilabel_scores(score_card, "probe", dataset_protocol.metric, scores, truth)
    else:
        outcome = metrics.top_k_correct(scores, truth.labels)
        _add_single_label_scores(
            score_card, "probe", dataset_protocol.metric, outcome, scores.argmax(axis=1), truth
        )
    score_card.add_array("probe.strength", np.array([probe_result.protocol_l2]))
    score_card.add_array("probe.gradient", np.array([probe_result.probe.max_gradient]))
    score_card.add_array("probe.validation", np.array([probe_result.validation_score]))


def score_fine_tuning(
    score_card: ScoreCard,
    dataset_protocol: DatasetProtocol,
    outcome: Float,
    prediction: NDArray[np.int64],
    truth: GroundTruth,
) -> None:
    """Add `finetune`, the score of a fine-tuned model's outcomes and predictions, each (n,)."""
    _add_single_label_scores(
        score_card, "finetune", dataset_protocol.metric, outcome, prediction, truth
    )


def _add_single_label_scores(
    score_card: ScoreCard,
    name: Literal["zeroshot", "probe", "finetune"],
    metric: Metric,
    outcome: Float,
    prediction: NDArray[np.int64],
    truth: GroundTruth,
) -> None:
    """Add the metric under `name`, and the other of accuracy and mean per class (report-only)."""
    chance = 1 / len(truth.classes)
    mean = metrics.mean_per_class(outcome, truth.labels)
    samples = len(outcome)
    if metric == "accuracy":
        score_card.add_outcomes(name, outcome, kind="accuracy", chance=chance)
        secondary_name = f"{name}.mean_per_class"
        score_card.add_scalar(
            secondary_name, mean, kind="accuracy", samples=samples, chance=chance, report_only=True
        )
    else:
        if metric == "f1_macro":
            f1 = metrics.f1_macro(prediction, truth.labels)
            score_card.add_scalar(name, f1, kind="f1", samples=samples)
        elif metric == "mean_per_class":
            score_card.add_scalar(name, mean, kind="accuracy", samples=samples, chance=chance)
        score_card.add_outcomes(
            f"{name}.accuracy", outcome, kind="accuracy", chance=chance, report_only=True
        )
    score_card.add_array(f"{name}.prediction", prediction.astype(np.int16))


def _add_worst_group(
    score_card: ScoreCard, name: Literal["zeroshot"], outcome: Float, k: int, truth: GroundTruth
) -> None:
    """Add the top-k accuracy of the worst group as `name`; that of each group is report-only."""
    assert truth.groups is not None, "a metric of groups needs them"
    means, chance = metrics.group_means(outcome, truth.groups), min(1.0, k / len(truth.classes))
    score_card.add_scalar(
        *(name, min(means.values())), kind="worst_group", samples=len(outcome), chance=chance
    )
    for group, mean in means.items():
        score_card.add_scalar(
            *(join_class_name(f"{name}.group", str(group)), mean),
            kind="accuracy",
            samples=int((truth.groups == group).sum()),
            chance=chance,
            report_only=True,
        )


def _add_multilabel_scores(
    score_card: ScoreCard,
    name: Literal["zeroshot", "probe"],
    metric: Metric,
    scores: Float,
    truth: GroundTruth,
) -> None:
    """Add the mean of the classes' average precisions as `name`; each class's is report-only."""
    chance = metrics.chance_level(metric, truth.labels, len(truth.classes))
    class_precisions = metrics.class_average_precisions(metric, scores, truth.labels)
    mean = float(np.nanmean(class_precisions))
    score_card.add_scalar(name, mean, kind="map", samples=len(scores), chance=chance)
    for c in np.flatnonzero(~np.isnan(class_precisions)).tolist():
        counted = truth.labels[:, c] >= 0
        score_card.add_scalar(
            join_class_name(name, truth.classes[c]),
            float(class_precisions[c]),
            kind="map",
            samples=int(counted.sum()),
            chance=float((truth.labels[counted, c] == 1).mean()),
            report_only=True,
        )
    score_card.add_array(f"{name}.scores", scores.astype(np.float32))
