"""Scores of scenes: minimal pairs on plain and damaged pictures, retrieval, the modality gap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from uniclip import augment, data, rng
from uniclip.config import ScenesData
from uniclip.data.scene_words import ATTRIBUTES, caption
from uniclip.evaluate import examples, features, minimal_pairs, retrieval, tasks
from uniclip.evaluate.metrics import Float
from uniclip.evaluate.protocols import SCENE_VIEWS
from uniclip.evaluate.retrieval import Relation
from uniclip.evaluate.scenes import DAMAGED
from uniclip.evaluate.sheet import Sheet

if TYPE_CHECKING:
    from uniclip.data import Split
    from uniclip.model.pretrained import Pretrained

Float32 = NDArray[np.float32]

SIZES = tuple(len(values) for values in ATTRIBUTES.values())
CHANCE = 0.5
"""Of a minimal pair."""


def evaluate(pretrained: Pretrained, source: ScenesData) -> Any:
    """Scores and predictions on the test split (see `uniclip.evaluate.evaluate`)."""
    test = features.opened(source, "test")
    sheet = Sheet()
    tasks.keep_truth(sheet, test)
    values = np.stack([test.labels[name] for name in ATTRIBUTES], axis=1)
    texts = pretrained.embed_texts(captions())
    images = features.project(pretrained, features.trunk(pretrained, test))
    own = texts[minimal_pairs.place(values, SIZES)]

    _score_pairs(sheet, images, texts, values)
    for vectors, seen in damaged(pretrained, source):
        _score_pairs(sheet, seen, texts, values, f".views.{vectors}")
    _score_captions(sheet, test, images, own)
    _score_instances(sheet, *mild(pretrained, source))
    sheet.note("gap", modality_gap(images, own), kind="gap", samples=len(test))
    return sheet.finished()


def captions() -> list[str]:
    """The captions of all combinations, ordered as `minimal_pairs` wants them."""
    return [caption(row) for row in product(*(range(size) for size in SIZES))]


def damaged(pretrained: Pretrained, source: ScenesData) -> Iterator[tuple[str, Float32]]:
    """Unit rows (n, D) of one strong view of each picture, given each kind of vectors."""
    seen = _view(source, "strong", 0, pretrained.config.model.image.pixels)
    kinds = {
        "true": seen.vectors,
        "identity": np.zeros_like(seen.vectors),
        "wrong": np.roll(seen.vectors, -1, axis=0),
    }
    for kind, vectors in kinds.items():
        yield kind, pretrained.embed_images(seen.pixels, vectors=vectors)


def mild(pretrained: Pretrained, source: ScenesData) -> tuple[Float32, Float32]:
    """Unit rows (n, D) of two weak views of each picture, each given its true vectors."""
    side = pretrained.config.model.image.pixels
    one, other = (_view(source, "weak", number, side) for number in range(2))
    return (
        pretrained.embed_images(one.pixels, vectors=one.vectors),
        pretrained.embed_images(other.pixels, vectors=other.vectors),
    )


def modality_gap(images: Float32, texts: Float32) -> float:
    """Distance between mean picture and mean text embedding (Liang et al., NeurIPS 2022)."""
    return float(np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0)))


@dataclass(frozen=True)
class _View:
    """One view of every test picture."""

    pixels: NDArray[np.uint8]
    """(n, 3, side, side)."""
    vectors: Float32
    """(n, A): what was done."""


@lru_cache(maxsize=6)
def _view(source: ScenesData, kind: Literal["weak", "strong"], number: int, side: int) -> _View:
    """The same for every model: drawn by a key that knows no seed of a run."""
    test = features.opened(source, "test")
    key = rng.key("evaluate", "scenes", SCENE_VIEWS, kind, number)
    drawn = data.views(source, kind, key, test.ids, identity=0)
    canvas = test.pixels(np.arange(len(test)))
    return _View(augment.apply(canvas, drawn, side), augment.describe(drawn))


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
