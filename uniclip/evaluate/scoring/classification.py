"""Scores of one labelled data set under a published protocol, from embeddings alone.

No picture is looked at here: who has the embeddings of a data set in a cache can score it again
under another template or metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate import metrics
from uniclip.evaluate.checks import label_order
from uniclip.evaluate.metrics import Float
from uniclip.evaluate.protocols.protocol import Judgement, Metric
from uniclip.evaluate.scoring import linear_probe, zero_shot
from uniclip.evaluate.scoring.linear_probe import Probed
from uniclip.evaluate.scoring.retrieval import ranks
from uniclip.evaluate.scoring.score_card import Sheet

TOP = 5


@dataclass(frozen=True)
class Truth:
    """What is true of n pictures of a data set."""

    labels: NDArray[Any]
    """(n,) int64 classes; or (n, C) of 1 (is), 0 (is not) and -1 (not counted)."""
    classes: tuple[str, ...]
    """The data set's own keys, in the order of its labels."""

    @property
    def several(self) -> bool:
        """Whether a picture may have several labels."""
        return self.labels.ndim == 2


def truth_of(
    labels: NDArray[Any],
    classes: Sequence[str],
    difficult: NDArray[np.bool_] | None = None,
    judgement: Judgement | None = None,
) -> Truth:
    """The truth as a protocol sees it: difficult (n, C) labels are left out, or count as present.

    labels: (n,) int64, or (n, C) of 0 and 1.
    """
    if difficult is not None:
        as_present = judgement is not None and judgement.difficult == "present"
        labels = np.where(difficult, 1 if as_present else -1, labels)
    return Truth(labels, tuple(classes))


def prompts(judgement: Judgement) -> list[list[str]]:
    """The prompts of each class, in the order of labels."""
    return [zero_shot.prompts(judgement.templates, names) for _, names in judgement.names]


def score_zero_shot(
    sheet: Sheet,
    judgement: Judgement,
    images: NDArray[Any],
    classifier: NDArray[Any],
    truth: Truth,
    scale: float,
) -> None:
    """Put `zeroshot` on the sheet, and beside it top-5, mean per class, ECE and the alarm.

    images: (n, D) unit rows. classifier: (C, D) unit rows of `zero_shot.classifier`. scale: the
    model's multiplier of cosines; it moves the calibration error alone.
    """
    if truth.several:
        _several(sheet, "zeroshot", judgement.metric, images @ classifier.T, truth)
        return
    found = ranks(images, classifier, np.arange(len(images)), truth.labels, tie=0)
    prediction, confidence = zero_shot.predict(images, classifier, scale)
    _single(sheet, "zeroshot", judgement.metric, found.hits(1), prediction, truth)
    if len(truth.classes) > TOP:
        sheet.add(
            "zeroshot.top5",
            found.hits(TOP),
            kind="accuracy",
            chance=TOP / len(truth.classes),
            shown_only=True,
        )
    error = metrics.calibration_error(confidence, found.hits(1))
    sheet.note("zeroshot.ece", error, kind="error", samples=len(images), shown_only=True)
    renaming = label_order.renaming(prediction, truth.labels, len(truth.classes))
    sheet.keep("zeroshot.renamed", np.array([renaming.accuracy, renaming.renamed]))
    sheet.keep("zeroshot.alarm", np.array([renaming.alarm]))


def score_probe(
    sheet: Sheet,
    judgement: Judgement,
    made: Probed,
    test: NDArray[Any],
    truth: Truth,
) -> None:
    """Put `probe` on the sheet: of `linear_probe.protocol_probe`, on features `test` (n, F)."""
    assert judgement.probing is not None, judgement.dataset
    scores = made.probe.decide(linear_probe.scaled(test, judgement.probing))
    if truth.several:
        _several(sheet, "probe", judgement.metric, scores, truth)
    else:
        outcome = metrics.correct(scores, truth.labels)
        _single(sheet, "probe", judgement.metric, outcome, scores.argmax(axis=1), truth)
    sheet.keep("probe.strength", np.array([made.strength]))
    sheet.keep("probe.gradient", np.array([made.probe.gradient]))
    sheet.keep("probe.validation", np.array([made.validation]))


def _single(
    sheet: Sheet,
    name: Literal["zeroshot", "probe"],
    metric: Metric,
    outcome: Float,
    prediction: NDArray[np.int64],
    truth: Truth,
) -> None:
    """The protocol's metric under `name`; the other of accuracy and mean per class beside it."""
    chance = 1 / len(truth.classes)
    mean = metrics.mean_per_class(outcome, truth.labels)
    samples = len(outcome)
    if metric == "mean_per_class":
        sheet.note(name, mean, kind="accuracy", samples=samples, chance=chance)
        sheet.add(f"{name}.accuracy", outcome, kind="accuracy", chance=chance, shown_only=True)
    else:
        sheet.add(name, outcome, kind="accuracy", chance=chance)
        beside = f"{name}.mean_per_class"
        sheet.note(beside, mean, kind="accuracy", samples=samples, chance=chance, shown_only=True)
    sheet.keep(f"{name}.prediction", prediction.astype(np.int16))


def _several(
    sheet: Sheet, name: Literal["zeroshot", "probe"], metric: Metric, scores: Float, truth: Truth
) -> None:
    """The mean of the classes' average precisions under `name`; a class's with fewer shown only."""
    chance = metrics.chance(metric, truth.labels, len(truth.classes))
    of_class = metrics.precisions(metric, scores, truth.labels)
    mean = float(np.nanmean(of_class))
    sheet.note(name, mean, kind="map", samples=len(scores), chance=chance)
    for c in np.flatnonzero(~np.isnan(of_class)).tolist():
        counted = truth.labels[:, c] >= 0
        sheet.note(
            f"{name}.{truth.classes[c]}",
            float(of_class[c]),
            kind="map",
            samples=int(counted.sum()),
            chance=float((truth.labels[counted, c] == 1).mean()),
            shown_only=True,
        )
    sheet.keep(f"{name}.scores", scores.astype(np.float32))
