"""Retrieval both ways, with any number of captions an image and of images a caption.

An image is correct for a caption if it has that caption: two images with the same caption are both
correct. In the user's own data captions are the same if their tokens are, before they are cut to
the context: "A dog" and "a dog". Captions that only become equal when they are cut stay different;
they are tied. Of each block of similarities only the counts of better keys are stored, so the whole
matrix never exists (25,010 captions by 5,000 images would be 500 MB).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from uniclip.evaluate.metrics import TIE_TOLERANCE, Float, Int, Numbers, hit_probability

SIMILARITIES_PER_BLOCK = 1 << 21
"""Similarities in memory at once (8 MB as float32)."""


@dataclass(frozen=True)
class Ranks:
    """The rank of the best correct key of each of n queries. All fields (n,) int64."""

    num_above: Int
    """Incorrect keys that score higher."""
    num_tied: Int
    """Incorrect keys tied with it."""
    num_right: Int
    """Correct keys in that tie, itself included."""

    def hits(self, k: int) -> Float:
        """Return hits among the first k keys, (n,) float64: 0 or 1; in a tie their expectation."""
        return hit_probability(self.num_right, self.num_tied, k - self.num_above)

    def reciprocals(self) -> Float:
        """Return 1 / rank, (n,) float64 in (0, 1]; in a tie its expectation."""
        return self._expect(lambda ranks: 1 / ranks)

    def logarithms(self) -> Float:
        """Return the natural logarithm of the rank, (n,) float64; in a tie its expectation."""
        return self._expect(np.log)

    def expected_ranks(self) -> Float:
        """Return the rank from 1, (n,) float64; in a tie its expectation."""
        return self._expect(lambda ranks: ranks)

    def _expect(self, function: Callable[[Float], Float]) -> Float:
        """Return the expectation of a function of the rank over random orders of a tie, (n,)."""
        expectations = np.array(function(np.asarray(self.num_above + 1, np.float64)), np.float64)
        tied = np.flatnonzero(self.num_tied)
        if not len(tied):
            return expectations
        counts = np.stack([self.num_above, self.num_tied, self.num_right])[:, tied]
        distinct, inverse = np.unique(counts, axis=1, return_inverse=True)
        values = [_expect_in_tie(function, *column) for column in distinct.T.tolist()]
        expectations[tied] = np.array(values)[inverse.ravel()]
        return expectations

    def __getitem__(self, index: Int) -> Ranks:
        """Return the ranks of some queries."""
        return Ranks(self.num_above[index], self.num_tied[index], self.num_right[index])


def _expect_in_tie(
    function: Callable[[Float], Float], num_above: int, num_wrong: int, num_right: int
) -> float:
    """Return the expectation of a function of the rank of the first right key of one tie.

    It is at position j of the tie with probability C(t - j, r - 1) / C(t, r), for t keys of which r
    are right.
    """
    position = np.arange(1, num_wrong + 1)
    ratios = (num_wrong - position + 1) / (num_wrong + num_right - position)
    first_probability = num_right / (num_right + num_wrong)
    probabilities = first_probability * np.concatenate([[1.0], np.cumprod(ratios)])
    ranks = np.asarray(num_above + 1 + np.arange(num_wrong + 1), np.float64)
    return float(np.dot(probabilities, function(ranks)))


@dataclass(frozen=True)
class ImageTextPairs:
    """Which captions belong to which images: P pairs, ordered by image."""

    texts: tuple[str, ...]
    """The distinct captions, in the order of their first image."""
    image_index: Int
    """(P,) index of the pair's image."""
    text_index: Int
    """(P,) index into `texts`."""
    text_groups: Int | None = None
    """(len(texts),): texts with the same number count as one; None = every text is its own."""

    def group_equal_texts(
        self, encode: Callable[[Sequence[str]], Sequence[Sequence[int]]]
    ) -> ImageTextPairs:
        """Return the pairs with texts of equal tokens as one; `encode` returns the tokens."""
        number_of_row: dict[tuple[int, ...], int] = {}
        text_groups = [
            number_of_row.setdefault(tuple(ids), len(number_of_row)) for ids in encode(self.texts)
        ]
        return replace(self, text_groups=np.array(text_groups, np.int64))

    def list_correct(self) -> tuple[Int, Int]:
        """Return image and text index of every correct pair, each (Q,) with Q >= P.

        A text is correct for an image if it counts as one with a caption of the image.
        """
        if self.text_groups is None or len(np.unique(self.text_groups)) == len(self.texts):
            return self.image_index, self.text_index
        order = np.argsort(self.text_groups, kind="stable")
        ordered_groups = self.text_groups[order]
        groups = self.text_groups[self.text_index]
        first = np.searchsorted(ordered_groups, groups, side="left")
        counts = np.searchsorted(ordered_groups, groups, side="right") - first
        position = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        text_index = order[np.repeat(first, counts) + position]
        image_index = np.repeat(self.image_index, counts)
        pairs = np.unique(np.stack([image_index, text_index]), axis=1)
        return pairs[0], pairs[1]


def build_image_text_pairs(
    captions: Sequence[Sequence[str]],
    encode: Callable[[Sequence[str]], Sequence[Sequence[int]]] | None = None,
) -> ImageTextPairs:
    """Return the pairs of n images with one or more captions each.

    `[["a dog"], ["a cat", "a pet"], ["a pet"]]` gives texts ("a dog", "a cat", "a pet"),
    image_index [0, 1, 1, 2] and text_index [0, 1, 2, 2].

    Args:
        captions: Those of each image.
        encode: Returns the tokens of texts; texts with equal ones count as one. None = no such
            texts do.
    """
    position_of_text: dict[str, int] = {}
    image_index, text_index = [], []
    for i, image_captions in enumerate(captions):
        assert image_captions, f"image {i} has no caption"
        for caption in dict.fromkeys(image_captions):
            image_index.append(i)
            text_index.append(position_of_text.setdefault(caption, len(position_of_text)))
    pairs = ImageTextPairs(
        tuple(position_of_text), np.array(image_index, np.int64), np.array(text_index, np.int64)
    )
    return pairs if encode is None else pairs.group_equal_texts(encode)


def rank_keys(
    queries: Numbers,
    keys: Numbers,
    query_index: Int,
    key_index: Int,
    tie: float = TIE_TOLERANCE,
) -> Ranks:
    """Rank the keys for each query by their inner product.

    The order of keys and pairs does not matter. Non-finite values count as 0: a diverged model ties
    everywhere and is at chance.

    Args:
        queries: (n, D).
        keys: (m, D).
        query_index: (P,) int64, the queries of the correct pairs; each query has at least one.
        key_index: (P,) int64, the keys of the correct pairs.
        tie: Inner products that differ by no more are tied.
    """
    queries, keys = replace_non_finite(queries), replace_non_finite(keys)
    order = np.argsort(query_index, kind="stable")
    query_index, key_index = query_index[order], key_index[order]
    first_pair = np.searchsorted(query_index, np.arange(len(queries) + 1))
    assert (np.diff(first_pair) > 0).all(), "a query without a correct key"
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


def replace_non_finite(rows: Numbers) -> Numbers:
    """Return the rows themselves if they are finite; else with zeros for non-finite values."""
    if np.isfinite(rows.min(initial=0)) and np.isfinite(rows.max(initial=0)):
        return rows
    return np.asarray(np.nan_to_num(rows, nan=0, posinf=0, neginf=0))


def _rank_block(
    similarity: Numbers, query_index: Int, key_index: Int, tie: float
) -> tuple[Int, Int, Int]:
    # Taken from the same block: another matrix product may round differently.
    right_similarity = similarity[query_index, key_index]
    query_starts = np.flatnonzero(np.diff(query_index, prepend=-1))
    best = np.maximum.reduceat(right_similarity, query_starts)
    num_above = np.count_nonzero(similarity > (best + tie)[:, None], axis=1)  # never a correct one
    num_reached = np.count_nonzero(similarity >= (best - tie)[:, None], axis=1)
    num_right = np.add.reduceat(
        right_similarity >= (best - tie)[query_index], query_starts, dtype=np.int64
    )
    return num_above, num_reached - num_above - num_right, num_right


def rank_both_ways(
    images: Numbers,
    texts: Numbers,
    image_text_pairs: ImageTextPairs,
    tie: float = TIE_TOLERANCE,
) -> tuple[Ranks, Ranks]:
    """Return ranks of captions for each image (n), and of images for each pair's caption (P).

    images: (n, D) unit rows. texts: (len(image_text_pairs.texts), D) unit rows.
    """
    image_index, text_index = image_text_pairs.list_correct()
    to_text = rank_keys(images, texts, image_index, text_index, tie)
    to_image = rank_keys(texts, images, text_index, image_index, tie)
    return to_text, to_image[image_text_pairs.text_index]


def build_chance_ranks(image_text_pairs: ImageTextPairs) -> tuple[Ranks, Ranks]:
    """Return the ranks of a model for which all keys are tied; their scores are those of chance.

    Of captions for each image (n), and of images for each pair's caption (P).
    """
    n, m = int(image_text_pairs.image_index.max()) + 1, len(image_text_pairs.texts)
    image_index, text_index = image_text_pairs.list_correct()
    texts_per_image = np.bincount(image_index, minlength=n)
    images_per_text = np.bincount(text_index, minlength=m)[image_text_pairs.text_index]
    return (
        Ranks(np.zeros_like(texts_per_image), m - texts_per_image, texts_per_image),
        Ranks(np.zeros_like(images_per_text), n - images_per_text, images_per_text),
    )


def chance_recall(image_text_pairs: ImageTextPairs, k: int) -> tuple[float, float]:
    """Return the exact R@k of a random ranking: image to caption, caption to image."""
    to_text, to_image = build_chance_ranks(image_text_pairs)
    return float(to_text.hits(k).mean()), float(to_image.hits(k).mean())
