"""Scores of a shift of ImageNet relative to ImageNet itself, where its test images are present.

    shift.clean     zero-shot accuracy on ImageNet's test images of the same classes
    shift.robust    effective robustness (`robustness`)
    ood.aupr        ImageNet-O: area under the precision-recall curve of detecting its images
    ood.auroc       the same under the receiver operating characteristic

ImageNet-O (Hendrycks et al., CVPR 2021) is scored as by its authors (`get_measures` in
`calibration_tools.py` of github.com/hendrycks/natural-adv-examples): its images, which are of no
class, are the positive ones, ImageNet's of its 200 classes the negative ones, and the score of an
image is the negative of the largest softmax probability over these classes. A zero-shot model has
the probabilities at its own temperature.
"""

from __future__ import annotations

import numpy as np

from uniclip.evaluate import metrics
from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.metrics import Float, Numbers
from uniclip.evaluate.protocols.protocol import DatasetProtocol
from uniclip.evaluate.scoring import zero_shot
from uniclip.evaluate.scoring.dataset_splits import DatasetSplits, embed_split
from uniclip.evaluate.scoring.embeddings import CachedEncoder
from uniclip.evaluate.scoring.retrieval import rank_keys
from uniclip.evaluate.scoring.robustness import fit_baseline
from uniclip.evaluate.scoring.score_card import ScoreCard

OUT_OF_DISTRIBUTION = "imagenet_o"
"""The data set whose images are of none of its classes."""


def score_shift(
    score_card: ScoreCard,
    encoder: CachedEncoder,
    protocol: DatasetProtocol,
    reference: DatasetSplits,
    test: ImageDataset,
    images: Numbers,
    classifier: Numbers,
) -> None:
    """Add the scores of a shift, if the reference has an image of its classes.

    Args:
        score_card: Where they are added.
        encoder: The model.
        protocol: Of the shift.
        reference: The data set without the shift.
        test: The shifted images; their classes are among those of `reference`.
        images: (n, D) unit rows of `test`.
        classifier: (C, D) unit rows of the classes of `test`.
    """
    assert test.labels is not None
    clean, labels = _embed_same_classes(encoder, protocol, reference, test.classes)
    if not len(clean):
        return
    if test.name == OUT_OF_DISTRIBUTION:
        scale = encoder.pretrained.image_text_scale()
        confidences = [zero_shot.predict(rows, classifier, scale)[1] for rows in (images, clean)]
        add_detection_scores(score_card, *confidences)
        return
    clean_hits = rank_keys(clean, classifier, np.arange(len(clean)), labels, tie=0).hits(1)
    hits = rank_keys(images, classifier, np.arange(len(images)), test.labels, tie=0).hits(1)
    add_robustness_scores(score_card, test.name, hits, clean_hits, len(test.classes))


def add_detection_scores(score_card: ScoreCard, confidence: Float, clean_confidence: Float) -> None:
    """Add `ood.aupr` and `ood.auroc` of images by the confidence in their class.

    Args:
        score_card: Where they are added.
        confidence: (n,) of the images that are of no class, which are to be detected.
        clean_confidence: (m,) of the others.
    """
    anomaly = -np.concatenate([confidence, clean_confidence])
    truth = np.repeat([1, 0], [len(confidence), len(clean_confidence)])
    values = {
        "aupr": (metrics.average_precision(anomaly, truth), float(truth.mean())),
        "auroc": (metrics.area_under_roc(anomaly, truth), 0.5),
    }
    for name, (value, chance) in values.items():
        score_card.add_scalar(
            f"ood.{name}",
            value,
            kind="detection",
            samples=len(confidence),
            chance=chance,
            report_only=name != "aupr",
        )


def add_robustness_scores(
    score_card: ScoreCard, dataset: str, hits: Numbers, clean_hits: Numbers, num_classes: int
) -> None:
    """Add `shift.clean`, and `shift.robust` where there is a baseline.

    The latter is report-only if the accuracy without the shift is beyond those of the fitted
    models.

    Args:
        score_card: Where they are added.
        dataset: Name of the shift.
        hits: (n,) whether each shifted image is right.
        clean_hits: (m,) the same without the shift.
        num_classes: Number of classes of both.
    """
    clean_accuracy = float(np.mean(clean_hits))
    score_card.add_scalar(
        "shift.clean",
        clean_accuracy,
        kind="accuracy",
        samples=len(clean_hits),
        chance=1 / num_classes,
        report_only=True,
    )
    baseline = fit_baseline(dataset)
    if baseline is None:
        return
    margin = 0.5 / len(clean_hits)  # the logit of 0 and of 1 is infinite
    expected = baseline.predict(min(max(clean_accuracy, margin), 1 - margin))
    score_card.add_scalar(
        "shift.robust",
        float(np.mean(hits)) - expected,
        kind="robustness",
        samples=len(hits),
        report_only=not baseline.covers(clean_accuracy),
    )


def _embed_same_classes(
    encoder: CachedEncoder,
    protocol: DatasetProtocol,
    reference: DatasetSplits,
    classes: tuple[str, ...],
) -> tuple[Numbers, Numbers]:
    """Return unit rows (m, D) of the reference's images of some classes, and the classes (m,)."""
    clean = reference.open("test")
    assert clean.labels is not None
    number_of_class = {name: number for number, name in enumerate(classes)}
    new_labels = np.array([number_of_class.get(name, -1) for name in clean.classes], np.int64)
    labels = new_labels[clean.labels]
    embedding = embed_split(encoder, reference, clean, protocol.preprocessing)
    rows = embedding.project()[labels >= 0]
    embedding.remove_partial_features()
    return rows, labels[labels >= 0]
