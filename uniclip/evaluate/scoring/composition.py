"""Composition: is the caption of an image nearer to it than captions of the same words or shape?

    composition.text         the correct caption is the nearest to its image; with pairs of images,
                             it is so for both images
    composition.image        with pairs: both captions are nearer to their own image
    composition.group        with pairs: both (Thrush et al., CVPR 2022)
    composition.text[c]      the score over the images of category c
    composition.blind.prior  share of the wrong captions that are farther from the mean of all test
                             images than the correct one
    composition.blind.short  share of the wrong captions that are longer, in characters

The last two do not look at the image: what they reach above chance shows how much of the data set
can be solved without it (Hsieh et al., NeurIPS 2023, show it for earlier data sets by the
likelihood of the captions in a language model; these two are our own). A tie is wrong, as in the
authors' code, but half right in the blind scores.
"""

from __future__ import annotations

import numpy as np

from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.metrics import Float, Int, Numbers, compute_win_rate
from uniclip.evaluate.outcome_clusters import CLUSTER_ARRAY
from uniclip.evaluate.scoring.score_card import ScoreCard
from uniclip.evaluate.scoring.score_names import join_class_name

NAME = "composition"
CHANCE_OF_PAIRS = {"text": 1 / 4, "image": 1 / 4, "group": 1 / 6}
"""Chance levels with pairs, of random similarities (Thrush et al., 2022)."""


def score_composition(
    score_card: ScoreCard, images: Numbers, captions: Numbers, test: ImageDataset
) -> None:
    """Add the scores of a data set.

    Args:
        score_card: Where they are added, with the categories (n,) int16 as `labels`, and the
            photograph of each image, where several are parts of one, (n,) uint64 as `family`.
        images: (n, D) unit rows.
        captions: (n, K, D) unit rows of the captions of each image, the correct one first.
        test: The images, their categories and pairs.
    """
    assert test.labels is not None
    score_card.add_array("labels", test.labels.astype(np.int16))
    similarity = np.nan_to_num(np.einsum("nd,nkd->nk", images, captions))
    is_text_correct = similarity[:, 0] > similarity[:, 1:].max(axis=1)
    if test.pairs is None and test.cluster_rows is not None:
        score_card.add_array(CLUSTER_ARRAY, test.cluster_rows.astype(np.uint64))
    if test.pairs is None:
        outcomes = {"text": is_text_correct}
        chances, categories = {"text": 1 / captions.shape[1]}, test.labels
    else:
        pairs = order_pairs(test.pairs)
        outcomes = compute_pair_outcomes(similarity, images, captions[:, 0], pairs)
        chances, categories = CHANCE_OF_PAIRS, test.labels[pairs[:, 0]]
    for name, outcome in outcomes.items():
        _add_scores(score_card, f"{NAME}.{name}", outcome, chances[name], categories, test.classes)
    _add_blind_scores(score_card, images, captions, test)


def order_pairs(pairs: Int) -> Int:
    """Return the positions (n / 2, 2) of the images of each pair, by the number of the pair."""
    order = np.argsort(pairs, kind="stable")
    positions: Int = order.reshape(-1, 2)
    assert (pairs[positions[:, 0]] == pairs[positions[:, 1]]).all(), "a pair has two images"
    return positions


def compute_pair_outcomes(
    similarity: Float, images: Numbers, own_captions: Numbers, pairs: Int
) -> dict[str, Float]:
    """Return text, image and group outcome (n / 2,) of each pair.

    Args:
        similarity: (n, 2) of an image with its own caption and that of the other image.
        images: (n, D) unit rows.
        own_captions: (n, D) unit rows of the correct captions.
        pairs: (n / 2, 2) positions of the images of each pair.
    """
    is_text_correct = (similarity[:, 0] > similarity[:, 1])[pairs].all(axis=1)
    others = np.empty(len(images), np.int64)
    others[pairs] = pairs[:, ::-1]
    with_other_image = np.nan_to_num(np.einsum("nd,nd->n", images[others], own_captions))
    is_image_correct = (similarity[:, 0] > with_other_image)[pairs].all(axis=1)
    return {
        "text": is_text_correct.astype(np.float64),
        "image": is_image_correct.astype(np.float64),
        "group": (is_text_correct & is_image_correct).astype(np.float64),
    }


def _add_scores(
    score_card: ScoreCard,
    name: str,
    outcome: Numbers,
    chance: float,
    categories: Int,
    category_names: tuple[str, ...],
) -> None:
    """Add a score, and that of each category, which is report-only."""
    score_card.add_outcomes(name, outcome, kind="accuracy", chance=chance)
    for index, category in enumerate(category_names):
        rows = np.flatnonzero(categories == index)
        if len(rows) and len(category_names) > 1:
            score_card.add_scalar(
                join_class_name(name, category),
                float(np.mean(outcome[rows])),
                kind="accuracy",
                samples=len(rows),
                chance=chance,
                report_only=True,
            )


def _add_blind_scores(
    score_card: ScoreCard, images: Numbers, captions: Numbers, test: ImageDataset
) -> None:
    """Add the scores that do not look at the image; both are report-only."""
    prior = np.nan_to_num(captions @ np.nan_to_num(images).mean(axis=0))
    lengths = np.array([[len(c) for c in row] for row in test.captions])
    for name, preference in (("prior", prior), ("short", -lengths)):
        score_card.add_outcomes(
            f"{NAME}.blind.{name}",
            compute_win_rate(preference[:, 0], preference[:, 1:]),
            kind="accuracy",
            chance=0.5,
            report_only=True,
        )
