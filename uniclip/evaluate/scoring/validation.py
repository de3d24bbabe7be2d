"""The score that training watches: cheap, fixed, and from the validation split only."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.augmentation import transform
from uniclip.errors import UserError
from uniclip.evaluate.features import split_features
from uniclip.evaluate.scoring.retrieval import Relation, both_ways, relate

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import Pretrained
    from uniclip.config import RunConfig

SAMPLES = 512
"""Most pictures that one validation looks at."""


def validate(pretrained: Pretrained, config: RunConfig) -> float:
    """R@1, the mean of both ways, on at most 512 fixed validation pictures; chance is near 1/n.

    A picture is right when its caption is. Raises `UserError` if there is no validation picture.
    """
    pixels, relation = _prepared(config.data, config.model.image.pixels)
    images = pretrained.embed_images(pixels)
    texts = pretrained.embed_texts(list(relation.texts))
    to_text, to_image = both_ways(images, texts, relation)
    return float(to_text.hits(1).mean() + to_image.hits(1).mean()) / 2


@lru_cache(maxsize=4)
def _prepared(source: Any, side: int) -> tuple[NDArray[np.uint8], Relation]:
    """Pictures (n, 3, side, side) under the evaluation transform, and their captions' relation."""
    split = split_features.opened(source, "validation")
    if not len(split):
        raise UserError(f"data={source.name} has no validation pictures; add samples")
    chosen = np.sort(rng.permutation(rng.key("validate"), len(split))[:SAMPLES])
    pixels = transform.apply(split.pixels(chosen), transform.evaluation(len(chosen)), side)
    return pixels, relate([split.captions[i] for i in chosen])
