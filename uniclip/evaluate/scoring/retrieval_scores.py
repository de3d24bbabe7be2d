"""The scores of retrieval between images and captions: recalls, ranks and log likelihoods.

Beside R@k, for comparison with the literature, there are scores that use more than whether the best
correct key is among the first k, and that find the same effect with fewer seeds: the mean
reciprocal rank (Voorhees, TREC-8, 1999), the median rank (Karpathy and Li, CVPR 2015), the mean
logarithm of the rank, and the log likelihood of the pairs (`log_likelihood`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from uniclip.evaluate.metrics import TIE_TOLERANCE, Float, Numbers
from uniclip.evaluate.protocols.protocol import RECALL_KS
from uniclip.evaluate.scoring import log_likelihood
from uniclip.evaluate.scoring.retrieval import (
    ImageTextPairs,
    Ranks,
    build_chance_ranks,
    rank_both_ways,
)
from uniclip.evaluate.scoring.score_card import ScoreCard
from uniclip.store import ScoreKind

BothWays = tuple[Float, Float]
"""A quantity of the images (n,), and of the captions of the pairs (P,)."""

RANK_SCORES: dict[str, tuple[ScoreKind, Callable[[Ranks], Float]]] = {
    "mrr": ("reciprocal_rank", Ranks.reciprocals),
    "log_rank": ("log_rank", Ranks.logarithms),
}
"""Last word of the name of a score -> its kind, and its outcome for each query."""


def score_retrieval(
    score_card: ScoreCard,
    images: Numbers,
    texts: Numbers,
    image_text_pairs: ImageTextPairs,
    temperature: float | None,
    *,
    name: str = "retrieval",
    ks: Sequence[int] = RECALL_KS,
    tie: float = TIE_TOLERANCE,
) -> None:
    """Add every score of retrieval, and the outcomes behind it.

    `<name>.i2t` retrieves captions for images, `<name>.t2i` images for captions: `.r<k>` for each
    k, `.mrr`, `.log_rank`, `.median_rank` and `.log_likelihood`, and the array `.rank` (float32,
    from 1, in a tie the expected one). `<name>.r1`, `.mrr`, `.log_rank` and `.log_likelihood` are
    the means of both ways.

    Args:
        score_card: Where the scores are added.
        images: (n, D) unit rows.
        texts: (len(image_text_pairs.texts), D) unit rows.
        image_text_pairs: Which captions belong to which images.
        temperature: The temperature of the log likelihoods, fitted on validation pairs; it is
            added, too. None = there are no such pairs, and no log likelihood.
        name: First words of the names of the scores.
        ks: The k of R@k in one direction.
        tie: Inner products that differ by no more are tied; in published protocols only equal ones
            (0).
    """
    ranks = rank_both_ways(images, texts, image_text_pairs, tie)
    chance_ranks = build_chance_ranks(image_text_pairs)
    _add_recalls(score_card, name, ranks, chance_ranks, ks)
    add_mean_recall(score_card, f"{name}.r1", *ranks, image_text_pairs)
    add_rank_scores(score_card, name, ranks, image_text_pairs)
    if len(image_text_pairs.image_index) > len(ranks[0].num_above):
        image_index = image_text_pairs.image_index.astype(np.int32)
        score_card.add_array(f"{name}.t2i.image", image_index)
    if temperature is not None:
        outcomes = log_likelihood.compute_log_likelihoods(
            images, texts, image_text_pairs, temperature
        )
        chance = log_likelihood.compute_chance_log_likelihoods(image_text_pairs)
        _add_both_ways(
            score_card, name, "log_likelihood", "log_likelihood", outcomes, chance, image_text_pairs
        )
        score_card.add_scalar(
            f"{name}.temperature",
            temperature,
            kind="temperature",
            samples=len(images),
            report_only=True,
        )


def add_rank_scores(
    score_card: ScoreCard,
    name: str,
    ranks: tuple[Ranks, Ranks],
    image_text_pairs: ImageTextPairs,
) -> None:
    """Add the scores of `RANK_SCORES`, each way and their mean, and the median rank of each way."""
    chance_ranks = build_chance_ranks(image_text_pairs)
    for word, (kind, function) in RANK_SCORES.items():
        outcomes = (function(ranks[0]), function(ranks[1]))
        chance = tuple(float(function(r).mean()) for r in chance_ranks)
        _add_both_ways(
            score_card, name, word, kind, outcomes, (chance[0], chance[1]), image_text_pairs
        )
    for direction, way, chance_way in zip(("i2t", "t2i"), ranks, chance_ranks):
        expected_ranks = way.expected_ranks()
        score_card.add_array(f"{name}.{direction}.rank", expected_ranks.astype(np.float32))
        score_card.add_scalar(
            f"{name}.{direction}.median_rank",
            float(np.median(expected_ranks)),
            kind="rank",
            samples=len(expected_ranks),
            chance=float(np.median(chance_way.expected_ranks())),
        )


def add_mean_recall(
    score_card: ScoreCard,
    name: str,
    to_text: Ranks,
    to_image: Ranks,
    image_text_pairs: ImageTextPairs,
) -> None:
    """Add the mean R@1 of both ways."""
    chance_text, chance_image = build_chance_ranks(image_text_pairs)
    _add_mean(
        score_card,
        name,
        "recall",
        (to_text.hits(1), to_image.hits(1)),
        (float(chance_text.hits(1).mean()), float(chance_image.hits(1).mean())),
        image_text_pairs,
    )


def _add_recalls(
    score_card: ScoreCard,
    name: str,
    ranks: tuple[Ranks, Ranks],
    chance_ranks: tuple[Ranks, Ranks],
    ks: Sequence[int],
) -> None:
    for direction, way, chance_way in zip(("i2t", "t2i"), ranks, chance_ranks):
        for k in ks:
            score_card.add_outcomes(
                f"{name}.{direction}.r{k}",
                way.hits(k),
                kind="recall",
                chance=float(chance_way.hits(k).mean()),
            )


def _add_both_ways(
    score_card: ScoreCard,
    name: str,
    word: str,
    kind: ScoreKind,
    outcomes: BothWays,
    chance: tuple[float, float],
    image_text_pairs: ImageTextPairs,
) -> None:
    """Add `<name>.i2t.<word>`, `<name>.t2i.<word>`, and their mean `<name>.<word>`."""
    for direction, way, chance_way in zip(("i2t", "t2i"), outcomes, chance):
        score_card.add_outcomes(f"{name}.{direction}.{word}", way, kind=kind, chance=chance_way)
    _add_mean(score_card, f"{name}.{word}", kind, outcomes, chance, image_text_pairs)


def _add_mean(
    score_card: ScoreCard,
    name: str,
    kind: ScoreKind,
    outcomes: BothWays,
    chance: tuple[float, float],
    image_text_pairs: ImageTextPairs,
) -> None:
    """Add the mean of both ways.

    An image's outcome is the mean of its own and its share of its captions' outcomes, weighted so
    that the mean over images is the mean of both scores whatever the number of captions.
    """
    image_outcomes, caption_outcomes = outcomes
    n, num_pairs = len(image_outcomes), len(caption_outcomes)
    caption_shares = np.bincount(
        image_text_pairs.image_index, weights=caption_outcomes, minlength=n
    ) * (n / num_pairs)
    score_card.add_outcomes(
        name, (image_outcomes + caption_shares) / 2, kind=kind, chance=float(np.mean(chance))
    )


def add_cut_share(score_card: ScoreCard, lengths: Sequence[int], limit: int) -> None:
    """Add `retrieval.captions_cut`: the share of captions of more tokens than the model takes.

    Args:
        score_card: Where it is added.
        lengths: Number of tokens of each caption, without special ones.
        limit: Largest number that the model takes.
    """
    cut = sum(length > limit for length in lengths) / len(lengths)
    score_card.add_scalar(
        "retrieval.captions_cut", cut, kind="share", samples=len(lengths), report_only=True
    )
