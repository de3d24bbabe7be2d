"""Scores of scenes: minimal pairs on plain and damaged images, retrieval, calibration, the
modality gap."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from uniclip.config import ScenesData
from uniclip.data.scenes.attributes import ATTRIBUTES, DAMAGEABLE_ATTRIBUTES, format_caption
from uniclip.evaluate.features import split_features, test_views
from uniclip.evaluate.metrics import Float
from uniclip.evaluate.scoring import (
    examples,
    labelled_split,
    minimal_pairs,
    retrieval,
    retrieval_scores,
    temperature,
    zero_shot,
)
from uniclip.evaluate.scoring.retrieval import ImageTextPairs
from uniclip.evaluate.scoring.score_card import ScoreCard

if TYPE_CHECKING:
    from uniclip.checkpoints.pretrained import PretrainedModel
    from uniclip.data import Split
    from uniclip.data.split import SplitName
    from uniclip.evaluate.benchmarks.base import Results

Float32 = NDArray[np.float32]

ATTRIBUTE_SIZES = tuple(len(values) for values in ATTRIBUTES.values())
MINIMAL_PAIR_CHANCE = 0.5
"""Chance level of a minimal pair."""


def score_scenes(
    pretrained: PretrainedModel, data_config: ScenesData, split_name: SplitName = "test"
) -> Results:
    """Return scores and predictions on a split (see `uniclip.evaluate.evaluate`)."""
    split = split_features.open_split_cached(data_config, split_name)
    score_card = ScoreCard()
    labelled_split.add_ground_truth(score_card, split)
    values = np.stack([split.labels[name] for name in ATTRIBUTES], axis=1)
    texts = pretrained.embed_texts(list_captions())
    images = split_features.project_features(
        pretrained, split_features.compute_image_features(pretrained, split)
    )
    caption_columns = minimal_pairs.find_caption_columns(values, ATTRIBUTE_SIZES)
    true_texts = texts[caption_columns]

    _score_pairs(score_card, images, texts, values)
    for condition, view_embeddings in test_views.embed_under_conditions(
        pretrained, data_config, split_name
    ):
        _score_pairs(score_card, view_embeddings, texts, values, f".views.{condition}")
    _score_captions(
        score_card,
        split,
        images,
        true_texts,
        temperature.fit_validation_temperature(pretrained, data_config),
    )
    ece = zero_shot.classify(
        images, texts, caption_columns, pretrained.image_text_scale()
    ).calibration_error
    score_card.add_scalar("caption.ece", ece, kind="error", samples=len(split))
    _score_instances(score_card, *embed_weak_views(pretrained, data_config, split_name))
    score_card.add_scalar(
        "gap", compute_modality_gap(images, true_texts), kind="gap", samples=len(split)
    )
    return score_card.get_results()


def list_captions() -> list[str]:
    """Return the captions of all combinations, in the order of `minimal_pairs`."""
    return [format_caption(row) for row in product(*(range(size) for size in ATTRIBUTE_SIZES))]


def embed_weak_views(
    pretrained: PretrainedModel, data_config: ScenesData, split_name: SplitName = "test"
) -> tuple[Float32, Float32]:
    """Return unit rows (n, D) of two weak views of each image, each given its true vectors."""
    image_size = pretrained.config.model.image.image_size
    first_view, second_view = (
        test_views.draw_view(data_config, "weak", view_number, image_size, split_name)
        for view_number in range(2)
    )
    return (
        pretrained.embed_images(first_view.pixels, vectors=first_view.vectors),
        pretrained.embed_images(second_view.pixels, vectors=second_view.vectors),
    )


def compute_modality_gap(images: Float32, texts: Float32) -> float:
    """Return the distance between mean image and text embedding (Liang et al., NeurIPS 2022)."""
    return float(np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0)))


def _score_pairs(
    score_card: ScoreCard,
    images: Float32,
    texts: Float32,
    values: NDArray[np.int64],
    suffix: str = "",
) -> None:
    """Score minimal pairs by attribute, and the mean over those that augmentations damage."""
    win_rates = dict(
        zip(ATTRIBUTES, minimal_pairs.compute_win_rates(images @ texts.T, values, ATTRIBUTE_SIZES))
    )
    mean: Float = np.mean([win_rates[name] for name in DAMAGEABLE_ATTRIBUTES], axis=0)
    for name, outcome in {**win_rates, "damaged": mean}.items():
        score_card.add_outcomes(
            f"minimal.{name}{suffix}", outcome, kind="accuracy", chance=MINIMAL_PAIR_CHANCE
        )


def _score_captions(
    score_card: ScoreCard,
    split: Split,
    images: Float32,
    true_texts: Float32,
    fitted_temperature: float | None,
) -> None:
    """Score retrieval between images (n, D) and their true captions (n, D)."""
    image_text_pairs = retrieval.build_image_text_pairs(split.captions)
    texts = true_texts[np.unique(image_text_pairs.text_index, return_index=True)[1]]
    retrieval_scores.score_retrieval(
        score_card,
        images,
        texts,
        image_text_pairs,
        fitted_temperature,
        name="retrieval.caption",
        ks=(),
    )
    examples.add_examples(score_card, split, images, texts, image_text_pairs)


def _score_instances(score_card: ScoreCard, first_views: Float32, second_views: Float32) -> None:
    """Score retrieval between the two views (n, D) of each image."""
    n = len(first_views)
    image_text_pairs = ImageTextPairs(tuple(map(str, range(n))), np.arange(n), np.arange(n))
    ranks = retrieval.rank_both_ways(first_views, second_views, image_text_pairs)
    retrieval_scores.add_mean_recall(score_card, "retrieval.instance.r1", *ranks, image_text_pairs)
    retrieval_scores.add_rank_scores(score_card, "retrieval.instance", ranks, image_text_pairs)
