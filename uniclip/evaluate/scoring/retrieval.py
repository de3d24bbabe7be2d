"""Retrieval both ways: any number of captions a picture, and of pictures a caption.

A picture is right for a caption when the caption is one of its own, whoever else has it too: two
pictures with one caption are both right. Only the count of better keys is kept of each block of
similarities, so the whole matrix never exists (25,010 captions by 5,000 pictures would be 500 MB).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.evaluate.metrics import TIE_TOLERANCE, Float, Int, hit_probability
from uniclip.evaluate.protocols.protocol import RECALL_KS
from uniclip.evaluate.scoring.score_card import ScoreCard

SIMILARITIES_PER_BLOCK = 1 << 21
"""Similarities held at once (8 MB as float32)."""


@dataclass(frozen=True)
class Ranks:
    """For each of n queries, where its best right key stands. All (n,) int64."""

    num_above: Int
    """Wrong keys that score higher."""
    num_tied: Int
    """Wrong keys in a tie with it."""
    num_right: Int
    """Right keys in that tie, itself included."""

    def hits(self, k: int) -> Float:
        """Whether a right key is among the first k, (n,) float64: 0 or 1, or between in a tie."""
        return hit_probability(self.num_right, self.num_tied, k - self.num_above)

    def worst_ranks(self) -> Int:
        """The rank from 1, (n,) int64; in a tie the worst one."""
        return self.num_above + self.num_tied + 1

    def __getitem__(self, index: Int) -> Ranks:
        """The ranks of some queries."""
        return Ranks(self.num_above[index], self.num_tied[index], self.num_right[index])


@dataclass(frozen=True)
class ImageTextPairs:
    """Which captions belong to which pictures: P pairs, ordered by picture."""

    texts: tuple[str, ...]
    """The distinct captions, in the order of their first picture."""
    image_index: Int
    """(P,) index of the pair's picture."""
    text_index: Int
    """(P,) index into `texts`."""


def build_image_text_pairs(captions: Sequence[Sequence[str]]) -> ImageTextPairs:
    """The relation of n pictures with one or more captions each.

    `[["a dog"], ["a cat", "a pet"], ["a pet"]]` gives texts ("a dog", "a cat", "a pet"), image
    [0, 1, 1, 2] and text [0, 1, 2, 2].
    """
    position_of_text: dict[str, int] = {}
    image_index, text_index = [], []
    for i, image_captions in enumerate(captions):
        assert image_captions, f"picture {i} has no caption"
        for caption in dict.fromkeys(image_captions):
            image_index.append(i)
            text_index.append(position_of_text.setdefault(caption, len(position_of_text)))
    return ImageTextPairs(
        tuple(position_of_text), np.array(image_index, np.int64), np.array(text_index, np.int64)
    )


def rank_keys(
    queries: NDArray[Any],
    keys: NDArray[Any],
    query_index: Int,
    key_index: Int,
    tie: float = TIE_TOLERANCE,
) -> Ranks:
    """Rank the keys for each query by their inner product.

    queries: (n, D). keys: (m, D). query, key: (P,) int64, the right pairs; each of the n queries
    has at least one. tie: inner products that differ by no more are a tie. The order of queries,
    keys and pairs changes nothing but the result's order.
    What is not finite says nothing: a model that broke down ties everywhere, so it is at chance.
    """
    queries, keys = _replace_non_finite(queries), _replace_non_finite(keys)
    order = np.argsort(query_index, kind="stable")
    query_index, key_index = query_index[order], key_index[order]
    first_pair = np.searchsorted(query_index, np.arange(len(queries) + 1))
    assert (np.diff(first_pair) > 0).all(), "a query without a right key"
    queries_per_block = max(1, SIMILARITIES_PER_BLOCK // max(1, len(keys)))
    buffer = np.empty(
        (min(queries_per_block, len(queries)), len(keys)), np.result_type(queries, keys)
    )
    blocks = []
    for start in range(0, len(queries), queries_per_block):
        end = min(start + queries_per_block, len(queries))
        pairs = slice(first_pair[start], first_pair[end])
        similarity = np.matmul(queries[start:end], keys.T, out=buffer[: end - start])
        blocks.append(_rank_block(similarity, query_index[pairs] - start, key_index[pairs], tie))
    return Ranks(*(np.concatenate(column) for column in zip(*blocks)))


def _replace_non_finite(rows: NDArray[Any]) -> NDArray[Any]:
    """The rows themselves if they are finite; else with zeros in place of what is not."""
    if np.isfinite(rows.min(initial=0)) and np.isfinite(rows.max(initial=0)):
        return rows
    return np.nan_to_num(rows, nan=0, posinf=0, neginf=0)


def _rank_block(
    similarity: NDArray[Any], query_index: Int, key_index: Int, tie: float
) -> tuple[Int, Int, Int]:
    right_similarity = similarity[
        query_index, key_index
    ]  # of the same block: another product may round otherwise
    query_starts = np.flatnonzero(np.diff(query_index, prepend=-1))
    best = np.maximum.reduceat(right_similarity, query_starts)
    num_above = np.count_nonzero(similarity > (best + tie)[:, None], axis=1)  # never a right one
    num_reached = np.count_nonzero(similarity >= (best - tie)[:, None], axis=1)
    num_right = np.add.reduceat(
        right_similarity >= (best - tie)[query_index], query_starts, dtype=np.int64
    )
    return num_above, num_reached - num_above - num_right, num_right


def rank_both_ways(
    images: NDArray[Any],
    texts: NDArray[Any],
    image_text_pairs: ImageTextPairs,
    tie: float = TIE_TOLERANCE,
) -> tuple[Ranks, Ranks]:
    """Ranks of the captions for each picture (n), and of the pictures for each pair's caption (P).

    images: (n, D) unit rows. texts: (len(relation.texts), D) unit rows.
    """
    to_text = rank_keys(
        images, texts, image_text_pairs.image_index, image_text_pairs.text_index, tie
    )
    to_image = rank_keys(
        texts, images, image_text_pairs.text_index, image_text_pairs.image_index, tie
    )
    return to_text, to_image[image_text_pairs.text_index]


def chance_recall(image_text_pairs: ImageTextPairs, k: int) -> tuple[float, float]:
    """R@k of a random ranking, exactly: picture to caption, caption to picture."""
    n, m = int(image_text_pairs.image_index.max()) + 1, len(image_text_pairs.texts)
    texts_per_image = np.bincount(image_text_pairs.image_index, minlength=n)
    images_per_text = np.bincount(image_text_pairs.text_index, minlength=m)[
        image_text_pairs.text_index
    ]
    return (
        float(hit_probability(texts_per_image, m - texts_per_image, k).mean()),
        float(hit_probability(images_per_text, n - images_per_text, k).mean()),
    )


def score_retrieval(
    score_card: ScoreCard,
    images: NDArray[Any],
    texts: NDArray[Any],
    image_text_pairs: ImageTextPairs,
    tie: float = TIE_TOLERANCE,
) -> None:
    """Put R@1, R@5 and R@10 both ways on the sheet, their mean R@1, and the ranks.

    `retrieval.i2t` finds captions for pictures, `retrieval.t2i` pictures for captions. Published
    protocols take equal scores alone for a tie (tie=0).
    """
    to_text, to_image = rank_both_ways(images, texts, image_text_pairs, tie)
    for direction_index, (direction, direction_ranks) in enumerate(
        {"i2t": to_text, "t2i": to_image}.items()
    ):
        for k in RECALL_KS:
            chance = chance_recall(image_text_pairs, k)[direction_index]
            score_card.add_outcomes(
                f"retrieval.{direction}.r{k}", direction_ranks.hits(k), kind="recall", chance=chance
            )
        score_card.add_array(
            f"retrieval.{direction}.rank", direction_ranks.worst_ranks().astype(np.int32)
        )
    add_mean_recall(score_card, "retrieval.r1", to_text, to_image, image_text_pairs)


def add_mean_recall(
    score_card: ScoreCard,
    name: str,
    to_text: Ranks,
    to_image: Ranks,
    image_text_pairs: ImageTextPairs,
) -> None:
    """Put the mean of both ways' R@1 on the sheet.

    A picture's outcome is the mean of its own hit and its captions' share of theirs, weighted so
    that the mean over pictures is the mean of both scores whatever the number of captions.
    """
    n, num_pairs = len(to_text.num_above), len(image_text_pairs.image_index)
    caption_hits = np.bincount(
        image_text_pairs.image_index, weights=to_image.hits(1), minlength=n
    ) * (n / num_pairs)
    chance = float(np.mean(chance_recall(image_text_pairs, 1)))
    score_card.add_outcomes(
        name, (to_text.hits(1) + caption_hits) / 2, kind="recall", chance=chance
    )
