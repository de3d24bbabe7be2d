"""The validation score during training: cheap, fixed, on the validation split only."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uniclip import data, rng
from uniclip.augmentation import apply, transform
from uniclip.errors import UserError
from uniclip.evaluate.features import split_features
from uniclip.evaluate.scoring.retrieval import (
    ImageTextPairs,
    build_image_text_pairs,
    rank_both_ways,
)

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.config import DataConfig

MAX_SAMPLES = 512
"""Largest number of images in one validation."""


def validate(pretrained: PretrainedModel, data_config: DataConfig) -> float:
    """Return the mean R@1 of both ways on at most 512 fixed validation images; chance is near 1/n.

    An image is a hit when its caption is, or one with equal tokens. Raises `UserError` if there is
    no validation image.
    """
    pixels, image_text_pairs = _load_images(
        data_config, pretrained.config.model.image.image_size, data.digest_content(data_config)
    )
    images = pretrained.embed_images(pixels)
    texts = pretrained.embed_texts(list(image_text_pairs.texts))
    pairs = image_text_pairs.group_equal_texts(pretrained.tokenizer.encode_uncut)
    to_text, to_image = rank_both_ways(images, texts, pairs)
    return float(to_text.hits(1).mean() + to_image.hits(1).mean()) / 2


@lru_cache(maxsize=4)
def _load_images(
    data_config: DataConfig, image_size: int, content_digest: str
) -> tuple[NDArray[np.uint8], ImageTextPairs]:
    """Return images (n, 3, image_size, image_size) under the evaluation transform, and captions.

    content_digest: of the data (`uniclip.data.digest_content`), so that changed data are read anew.
    """
    split = split_features.open_split_cached(data_config, "validation")
    if not len(split):
        raise UserError(f"data={data_config.name} has no validation images; add samples")
    sample_index = np.sort(rng.permutation(rng.derive_key("validate"), len(split))[:MAX_SAMPLES])
    pixels = apply.apply_augmentation(
        split.load_pixels(sample_index),
        transform.build_evaluation_params(len(sample_index)),
        image_size,
    )
    return pixels, build_image_text_pairs([split.captions[i] for i in sample_index])
