"""A few fixed test pictures with the captions that a model finds for them, for a report to show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.augmentation import transform
from uniclip.evaluate.scoring.retrieval import Relation
from uniclip.evaluate.scoring.score_card import Sheet

if TYPE_CHECKING:
    from uniclip.data import Split

COUNT = 12
SIDE = 64
TOP = 5


def keep(
    sheet: Sheet,
    split: Split,
    images: NDArray[Any],
    texts: NDArray[Any],
    relation: Relation,
) -> None:
    """Keep up to 12 pictures of `split`, the same for every model, and their 5 nearest captions.

    examples.pixels (e, 3, 64, 64) uint8; examples.names (e,) text; examples.captions (e, 5) text,
    nearest first; examples.right (e, 5) bool; examples.similarity (e, 5) float32 cosines.
    """
    order = rng.permutation(rng.key("evaluate", "examples"), len(split))
    chosen = np.sort(order[:COUNT])
    similarity = images[chosen] @ texts.T
    top = np.argsort(-similarity, axis=1, kind="stable")[:, :TOP]
    own = [set(relation.text[relation.image == i]) for i in chosen]
    canvas = split.pixels(chosen)
    sheet.keep("examples.pixels", transform.apply(canvas, transform.evaluation(len(chosen)), SIDE))
    sheet.keep("examples.names", np.array([split.names[i] for i in chosen], dtype=np.str_))
    sheet.keep("examples.captions", np.array(relation.texts, dtype=np.str_)[top])
    right = [[text in mine for text in row] for row, mine in zip(top, own)]
    sheet.keep("examples.right", np.array(right))
    nearest = np.take_along_axis(similarity, top, axis=1)
    sheet.keep("examples.similarity", nearest.astype(np.float32))
