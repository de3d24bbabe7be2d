"""Zero-shot classification: class names become classifiers through an ensemble of prompts.

For each class every template is filled with every name of the class, embedded and normalised; the
mean, normalised again, is the class's row (Radford et al., 2021, section 3.1.4). The prediction is
the row with the highest cosine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate.metrics import Float, Int, calibration_error, softmax
from uniclip.evaluate.scoring.retrieval import BLOCK, ranks
from uniclip.evaluate.scoring.score_card import FEWEST, Sheet

Embed = Callable[[list[str]], NDArray[Any]]
"""m texts to (m, D) unit rows."""


@dataclass(frozen=True)
class Classified:
    """What zero-shot classification says of n pictures."""

    prediction: Int
    """(n,) int64 index of the class (the first one of a tie)."""
    outcome: Float
    """(n,) 1 where it is right, 0 where not; in a tie the probability of being right."""
    calibration_error: float
    """Expected calibration error of the softmax over classes at the model's scale."""


def fill(template: str, name: str) -> str:
    """`template` with `name` in place of {}; braces in the name stay as they are."""
    assert template.count("{}") == 1, template
    return template.replace("{}", name)


def prompts(templates: Sequence[str], names: Sequence[str]) -> list[str]:
    """Every template filled with every name of a class."""
    return [fill(template, name) for template in templates for name in names]


def in_order(names: Mapping[str, Sequence[str]], classes: Sequence[str]) -> list[Sequence[str]]:
    """The names of each of `classes`, by class and never by position."""
    missing = [c for c in classes if c not in names]
    assert not missing, f"no prompt names for {missing}"
    return [names[c] for c in classes]


def classifier(embed: Embed, prompts_of: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """One unit row a class, (C, D) float32, from its prompts.

    Each distinct prompt is embedded once, shortest first: an encoder that trims a batch to its
    longest text then has little to pad, and, being causal, loses nothing by it.
    """
    distinct = list(dict.fromkeys(p for own in prompts_of for p in own))
    by_length = sorted(distinct, key=len)
    place = {prompt: i for i, prompt in enumerate(by_length)}
    rows = _unit(embed(by_length).astype(np.float64))
    means = np.stack([rows[[place[p] for p in own]].mean(axis=0) for own in prompts_of])
    return _unit(means).astype(np.float32)


def classify(images: NDArray[Any], classes: NDArray[Any], labels: Int, scale: float) -> Classified:
    """Classify unit rows `images` (n, D) by unit rows `classes` (C, D).

    labels: (n,) int64 in 0 .. C - 1. scale: the model's multiplier 1/tau of image-text cosines,
    which moves the calibration error and nothing else.
    """
    prediction, confidence = predict(images, classes, scale)
    outcome = ranks(images, classes, np.arange(len(images)), labels).hits(1)
    return Classified(prediction, outcome, calibration_error(confidence, outcome))


def predict(images: NDArray[Any], classes: NDArray[Any], scale: float) -> tuple[Int, Float]:
    """The nearest class of each picture, (n,) int64, and its probability, (n,) float64.

    Arguments as in `classify`. A block of pictures at a time: n times C numbers never exist.
    """
    prediction, confidence = np.empty(len(images), np.int64), np.empty(len(images))
    rows = max(1, BLOCK // len(classes))
    for start in range(0, len(images), rows):
        piece = slice(start, start + rows)
        similarity = images[piece] @ classes.T
        prediction[piece] = similarity.argmax(axis=1)
        confidence[piece] = softmax(scale * similarity).max(axis=1)
    return prediction, confidence


def score(sheet: Sheet, name: str, result: Classified, labels: Int, classes: Sequence[str]) -> None:
    """Put zeroshot.<name> on the sheet, its calibration error, and the accuracy of each class."""
    per_class(sheet, f"zeroshot.{name}", result.outcome, labels, classes)
    sheet.note(f"zeroshot.{name}.ece", result.calibration_error, kind="error", samples=len(labels))
    sheet.keep(f"zeroshot.{name}.prediction", result.prediction.astype(np.int16))


def per_class(
    sheet: Sheet, name: str, outcome: NDArray[Any], labels: Int, classes: Sequence[str]
) -> None:
    """Put an accuracy on the sheet, and that of each class that the test split has.

    Chance is a uniform guess, one over the number of classes. A single class is shown only, and so
    is the whole where a class of it has fewer than 50 test pictures.
    """
    chance = 1 / len(classes)
    counts = np.bincount(labels, minlength=len(classes))
    small = bool((counts[counts > 0] < FEWEST).any())
    sheet.add(name, outcome, kind="accuracy", chance=chance, shown_only=small)
    for index in np.flatnonzero(counts).tolist():
        of_class = float(outcome[labels == index].mean())
        sheet.note(
            f"{name}.{classes[index]}",
            of_class,
            kind="accuracy",
            samples=int(counts[index]),
            chance=chance,
            shown_only=True,
        )


def _unit(rows: NDArray[Any]) -> Float:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, np.finfo(np.float64).tiny))
