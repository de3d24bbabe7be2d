"""Scores of scenes: minimal pairs on plain and damaged pictures, retrieval, calibration, the
modality gap."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniclip.config import ScenesData
from uniclip.data.scenes.attributes import ATTRIBUTES, caption
from uniclip.evaluate.benchmarks.scenes import DAMAGED
from uniclip.evaluate.features import split_features, test_views
from uniclip.evaluate.metrics import Float
from uniclip.evaluate.scoring import examples, labelled_split, minimal_pairs, retrieval, zero_shot
from uniclip.evaluate.scoring.retrieval import Relation
from uniclip.evaluate.scoring.score_card import Sheet

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import Pretrained
    from uniclip.data import Split

Float32 = NDArray[np.float32]

SIZES = tuple(len(values) for values in ATTRIBUTES.values())
CHANCE = 0.5
"""Of a minimal pair."""


def evaluate(pretrained: Pretrained, source: ScenesData) -> Any:
    """Scores and predictions on the test split (see `uniclip.evaluate.evaluate`)."""
    test = split_features.opened(source, "test")
    sheet = Sheet()
    labelled_split.keep_truth(sheet, test)
    values = np.stack([test.labels[name] for name in ATTRIBUTES], axis=1)
    texts = pretrained.embed_texts(captions())
    images = split_features.project(pretrained, split_features.trunk(pretrained, test))
    true = minimal_pairs.place(values, SIZES)
    own = texts[true]

    _score_pairs(sheet, images, texts, values)
    for vectors, seen in test_views.told(pretrained, source):
        _score_pairs(sheet, seen, texts, values, f".views.{vectors}")
    _score_captions(sheet, test, images, own)
    error = zero_shot.classify(images, texts, true, pretrained.image_text_scale()).calibration_error
    sheet.note("caption.ece", error, kind="error", samples=len(test))
    _score_instances(sheet, *mild(pretrained, source))
    sheet.note("gap", modality_gap(images, own), kind="gap", samples=len(test))
    return sheet.finished()


def captions() -> list[str]:
    """The captions of all combinations, ordered as `minimal_pairs` wants them."""
    return [caption(row) for row in product(*(range(size) for size in SIZES))]


def mild(pretrained: Pretrained, source: ScenesData) -> tuple[Float32, Float32]:
    """Unit rows (n, D) of two weak views of each picture, each given its true vectors."""
    side = pretrained.config.model.image.pixels
    one, other = (test_views.view(source, "weak", number, side) for number in range(2))
    return (
        pretrained.embed_images(one.pixels, vectors=one.vectors),
        pretrained.embed_images(other.pixels, vectors=other.vectors),
    )


def modality_gap(images: Float32, texts: Float32) -> float:
    """Distance between mean picture and mean text embedding (Liang et al., NeurIPS 2022)."""
    return float(np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0)))


def _score_pairs(
    sheet: Sheet, images: Float32, texts: Float32, values: NDArray[np.int64], of: str = ""
) -> None:
    """Minimal pairs by attribute, and the mean over those that augmentations damage."""
    won = dict(zip(ATTRIBUTES, minimal_pairs.outcomes(images @ texts.T, values, SIZES)))
    mean: Float = np.mean([won[name] for name in DAMAGED], axis=0)
    for name, outcome in {**won, "damaged": mean}.items():
        sheet.add(f"minimal.{name}{of}", outcome, kind="accuracy", chance=CHANCE)


def _score_captions(sheet: Sheet, test: Split, images: Float32, own: Float32) -> None:
    """Captions and pictures of the split find each other; own: (n, D), each picture's caption."""
    relation = retrieval.relate(test.captions)
    texts = own[np.unique(relation.text, return_index=True)[1]]
    to_text, to_image = retrieval.both_ways(images, texts, relation)
    retrieval.add_mean(sheet, "retrieval.caption.r1", to_text, to_image, relation)
    examples.keep(sheet, test, images, texts, relation)


def _score_instances(sheet: Sheet, one: Float32, other: Float32) -> None:
    """Two views of a picture find each other among those of all."""
    n = len(one)
    relation = Relation(tuple(map(str, range(n))), np.arange(n), np.arange(n))
    there, back = retrieval.both_ways(one, other, relation)
    retrieval.add_mean(sheet, "retrieval.instance.r1", there, back, relation)
