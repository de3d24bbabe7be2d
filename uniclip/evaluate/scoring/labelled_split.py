"""What a benchmark asks of a model: zero-shot classification and linear probes on labelled splits.

A split may have several label sets (skin tone, category); a picture without a label in one (-1) is
left out of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate.features import split_features
from uniclip.evaluate.scoring import linear_probe, zero_shot
from uniclip.evaluate.scoring.score_card import Sheet

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import Pretrained
    from uniclip.data import Split


def score_zero_shot(
    sheet: Sheet,
    label: str,
    pretrained: Pretrained,
    split: Split,
    images: NDArray[Any],
    templates: Sequence[str],
    names: Mapping[str, Sequence[str]],
) -> None:
    """Put zeroshot.<label> on the sheet, if a test picture has that label.

    images: (n, D) unit rows of the split. names: the prompt names of each class of the label.
    """
    rows = np.flatnonzero(split.labels[label] >= 0)
    if not len(rows):
        return
    classes, labels = split.classes[label], split.labels[label][rows]
    prompts = [zero_shot.prompts(templates, n) for n in zero_shot.in_order(names, classes)]
    classifier = zero_shot.classifier(pretrained.embed_texts, prompts)
    result = zero_shot.classify(images[rows], classifier, labels, pretrained.image_text_scale())
    zero_shot.score(sheet, label, result, labels, classes)


def score_probe(
    sheet: Sheet, label: str, pretrained: Pretrained, source: Any, test: Split, seen: NDArray[Any]
) -> None:
    """Put probe.<label> on the sheet, if every split has a picture with that label.

    seen: (n, F) image-encoder features of the test split.
    """
    splits = (
        split_features.opened(source, "train"),
        split_features.opened(source, "validation"),
        test,
    )
    rows = [np.flatnonzero(split.labels[label] >= 0) for split in splits]
    if any(len(chosen) == 0 for chosen in rows):
        return
    known = [split_features.trunk(pretrained, s, chosen) for s, chosen in zip(splits[:2], rows)]
    train, validation, tested = (
        linear_probe.Part(of_split, split.labels[label][chosen])
        for of_split, split, chosen in zip([*known, seen[rows[2]]], splits, rows)
    )
    classes, labels = test.classes[label], tested.labels
    predicted, probe = linear_probe.linear_probe(train, validation, tested, len(classes))
    outcome = (predicted == labels).astype(np.float64)
    zero_shot.per_class(sheet, f"probe.{label}", outcome, labels, classes)
    sheet.keep(f"probe.{label}.prediction", predicted.astype(np.int16))
    sheet.keep(f"probe.{label}.strength", np.array([probe.strength]))
    sheet.keep(f"probe.{label}.gradient", np.array([probe.gradient]))


def keep_truth(sheet: Sheet, split: Split) -> None:
    """Keep the samples' ids (n,) uint64 and labels (n,) int16 (-1 = none) beside the outcomes."""
    sheet.keep("ids", split.ids)
    for label, values in split.labels.items():
        sheet.keep(f"labels.{label}", values.astype(np.int16))
