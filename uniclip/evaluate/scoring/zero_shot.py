"""Zero-shot classification: class names become classifiers through an ensemble of prompts.

For each class every template is filled with every name of the class, embedded and normalized; the
mean, normalized again, is the class's row (Radford et al., 2021, section 3.1.4). The prediction is
the row with the highest cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate.metrics import Float, Int, Numbers, calibration_error, softmax
from uniclip.evaluate.scoring.retrieval import SIMILARITIES_PER_BLOCK, rank_keys
from uniclip.evaluate.scoring.score_card import MIN_SAMPLES, ScoreCard
from uniclip.evaluate.scoring.score_names import CALIBRATION_ERROR, join_class_name

EmbedTexts = Callable[[list[str]], Numbers]
"""Maps m texts to (m, D) unit rows."""


@dataclass(frozen=True)
class ZeroShotResult:
    """Zero-shot classification of n images."""

    prediction: Int
    """(n,) int64 class index (the first of a tie)."""
    outcome: Float
    """(n,) 1 where correct, 0 where not; in a tie the probability of being correct."""
    calibration_error: float
    """Expected calibration error of the softmax over classes at the model's scale."""


def fill_template(template: str, name: str) -> str:
    """Return `template` with `name` in place of {}; braces in the name are kept."""
    assert template.count("{}") == 1, template
    return template.replace("{}", name)


def fill_templates(templates: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return every template filled with every name of a class."""
    return [fill_template(template, name) for template in templates for name in names]


def order_class_names(
    names: Mapping[str, Sequence[str]], classes: Sequence[str]
) -> list[Sequence[str]]:
    """Return the names of each of `classes`, by class and never by position."""
    missing = [c for c in classes if c not in names]
    assert not missing, f"no prompt names for {missing}"
    return [names[c] for c in classes]


def build_classifier(
    embed: EmbedTexts, prompts_by_class: Sequence[Sequence[str]]
) -> NDArray[np.float32]:
    """Return one unit row for each class, (C, D) float32, from its prompts.

    Each distinct prompt is embedded once, shortest first: an encoder that trims a batch to its
    longest text then has little padding; a causal encoder gives the same rows.
    """
    unique_prompts = list(
        dict.fromkeys(p for class_prompts in prompts_by_class for p in class_prompts)
    )
    sorted_prompts = sorted(unique_prompts, key=len)
    row_of_prompt = {prompt: i for i, prompt in enumerate(sorted_prompts)}
    rows = _normalize_rows(embed(sorted_prompts).astype(np.float64))
    means = np.stack(
        [
            rows[[row_of_prompt[p] for p in class_prompts]].mean(axis=0)
            for class_prompts in prompts_by_class
        ]
    )
    return _normalize_rows(means).astype(np.float32)


def classify(
    images: Numbers, class_embeddings: Numbers, labels: Int, logit_scale: float
) -> ZeroShotResult:
    """Classify unit rows of images (n, D) by unit rows of classes (C, D).

    labels: (n,) int64 in 0 .. C - 1. logit_scale: the model's multiplier 1/tau of image-text
    cosines, which affects the calibration error only.
    """
    prediction, confidence = predict(images, class_embeddings, logit_scale)
    outcome = rank_keys(images, class_embeddings, np.arange(len(images)), labels).hits(1)
    return ZeroShotResult(prediction, outcome, calibration_error(confidence, outcome))


def predict(images: Numbers, class_embeddings: Numbers, logit_scale: float) -> tuple[Int, Float]:
    """Return the nearest class of each image, (n,) int64, and its probability, (n,) float64.

    Arguments as in `classify`. Computed for a block of images at a time: the (n, C) matrix never
    exists.
    """
    prediction, confidence = np.empty(len(images), np.int64), np.empty(len(images))
    images_per_block = max(1, SIMILARITIES_PER_BLOCK // len(class_embeddings))
    for start in range(0, len(images), images_per_block):
        block = slice(start, start + images_per_block)
        similarity = images[block] @ class_embeddings.T
        prediction[block] = similarity.argmax(axis=1)
        confidence[block] = softmax(logit_scale * similarity).max(axis=1)
    return prediction, confidence


def add_zero_shot_scores(
    score_card: ScoreCard, name: str, result: ZeroShotResult, labels: Int, classes: Sequence[str]
) -> None:
    """Add zeroshot.<name>, its calibration error, and the accuracy of each class."""
    add_accuracy_per_class(score_card, f"zeroshot.{name}", result.outcome, labels, classes)
    score_card.add_scalar(
        f"zeroshot.{name}.{CALIBRATION_ERROR}",
        result.calibration_error,
        kind="error",
        samples=len(labels),
    )
    score_card.add_array(f"zeroshot.{name}.prediction", result.prediction.astype(np.int16))


def add_accuracy_per_class(
    score_card: ScoreCard, name: str, outcome: Numbers, labels: Int, classes: Sequence[str]
) -> None:
    """Add an accuracy, and that of each class in the test split (`score_names`).

    Chance is a uniform guess, one over the number of classes. The accuracies of single classes are
    report-only, and so is the overall one where a class has fewer than 50 test images.
    """
    chance = 1 / len(classes)
    counts = np.bincount(labels, minlength=len(classes))
    any_class_small = bool((counts[counts > 0] < MIN_SAMPLES).any())
    score_card.add_outcomes(
        name, outcome, kind="accuracy", chance=chance, report_only=any_class_small
    )
    for index in np.flatnonzero(counts).tolist():
        class_accuracy = float(outcome[labels == index].mean())
        score_card.add_scalar(
            join_class_name(name, classes[index]),
            class_accuracy,
            kind="accuracy",
            samples=int(counts[index]),
            chance=chance,
            report_only=True,
        )


def _normalize_rows(rows: Numbers) -> Float:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norm, np.finfo(np.float64).tiny))
