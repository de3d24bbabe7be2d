"""The temperature of a model's log likelihoods, fitted on validation pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uniclip import rng
from uniclip.evaluate.features import split_features
from uniclip.evaluate.protocols.protocol import MAX_TEMPERATURE_IMAGES, MIN_TEMPERATURE_IMAGES
from uniclip.evaluate.scoring.log_likelihood import fit_temperature
from uniclip.evaluate.scoring.retrieval import build_image_text_pairs

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.config import DataConfig
    from uniclip.evaluate.features.shares import FeatureShares


def fit_validation_temperature(
    pretrained: PretrainedModel,
    data_config: DataConfig,
    encode: Callable[[Sequence[str]], Sequence[Sequence[int]]] | None = None,
    shares: FeatureShares | None = None,
) -> float | None:
    """Return the temperature fitted on the validation split; None if it has too few images.

    Validation images and captions are embedded as those of the test split are.

    Args:
        pretrained: The model.
        data_config: The data section.
        encode: Returns the tokens of texts; texts with equal ones count as one. None = no such
            texts do.
        shares: What other processes have embedded of the split.
    """
    validation = split_features.open_split_cached(data_config, "validation")
    if not has_enough_images(len(validation)):
        return None
    index = select_images(len(validation))
    features = split_features.compute_image_features(pretrained, validation, index, shares)
    images = split_features.project_features(pretrained, features)
    pairs = build_image_text_pairs([validation.captions[i] for i in index], encode)
    texts = pretrained.embed_texts(list(pairs.texts))
    return fit_temperature(images, texts, pairs)


def has_enough_images(num_images: int) -> bool:
    """Return whether a temperature can be fitted to so many validation images."""
    return num_images >= MIN_TEMPERATURE_IMAGES


def select_images(num_images: int) -> NDArray[np.int64]:
    """Return at most `MAX_TEMPERATURE_IMAGES` of the validation images, in order, always the
    same."""
    order = rng.permutation(rng.derive_key("temperature"), num_images)
    return np.sort(order[:MAX_TEMPERATURE_IMAGES])
