"""Scores of the user's test pairs: retrieval, and zero-shot and probe where there is a label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uniclip.errors import UserError
from uniclip.evaluate.features import split_features
from uniclip.evaluate.features.shares import FeatureShares
from uniclip.evaluate.protocols.protocol import USER_TEMPLATES
from uniclip.evaluate.scoring import (
    examples,
    labelled_split,
    retrieval,
    retrieval_scores,
    temperature,
)
from uniclip.evaluate.scoring.score_card import ScoreCard

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.config import DataConfig
    from uniclip.evaluate.benchmarks.base import Results

LABEL = "label"


def score_test_split(
    pretrained: PretrainedModel,
    config: DataConfig,
    missing: str,
    shares_folder: Path | None = None,
) -> Results:
    """Return retrieval scores on the test split of the user's data, and those of its label.

    Args:
        pretrained: The model.
        config: The data section.
        missing: What to say if there are no test images.
        shares_folder: Where other processes stored what they embedded.

    Raises:
        UserError: There are none.
    """
    test = split_features.open_split_cached(config, "test")
    if not len(test):
        raise UserError(missing)
    shares = None if shares_folder is None else FeatureShares(shares_folder)
    score_card = ScoreCard()
    labelled_split.add_ground_truth(score_card, test)
    encode = pretrained.tokenizer.encode_uncut
    image_text_pairs = retrieval.build_image_text_pairs(test.captions, encode)
    image_features = split_features.compute_image_features(
        pretrained, test, shares=shares and shares.select_split("test")
    )
    images = split_features.project_features(pretrained, image_features)
    texts = pretrained.embed_texts(list(image_text_pairs.texts))
    retrieval_scores.score_retrieval(
        score_card,
        images,
        texts,
        image_text_pairs,
        temperature.fit_validation_temperature(
            pretrained, config, encode, shares and shares.select_split("validation")
        ),
    )
    examples.add_examples(score_card, test, images, texts, image_text_pairs)
    if LABEL in test.labels:
        names = {c: (c,) for c in test.class_names[LABEL]}
        labelled_split.score_zero_shot(
            score_card, LABEL, pretrained, test, images, USER_TEMPLATES, names
        )
        labelled_split.score_probe(
            score_card, LABEL, pretrained, config, test, image_features, shares
        )
    return score_card.get_results()


def embed_share(
    pretrained: PretrainedModel,
    config: DataConfig,
    folder: Path,
    rank: int,
    world_size: int,
) -> None:
    """Store the share of a process in the image features that `score_test_split` needs."""
    shares = FeatureShares(folder)
    test = split_features.open_split_cached(config, "test")
    validation = split_features.open_split_cached(config, "validation")
    embedded = [(test, np.arange(len(test)), shares.select_split("test"))]
    if temperature.has_enough_images(len(validation)):
        index = temperature.select_images(len(validation))
        embedded.append((validation, index, shares.select_split("validation")))
    for split, index, split_shares in embedded:
        split_features.embed_share(
            pretrained, split, index, split_shares, rank=rank, world_size=world_size
        )
    if LABEL in test.labels:
        labelled_split.embed_probe_share(
            LABEL, pretrained, config, test, shares, rank=rank, world_size=world_size
        )
