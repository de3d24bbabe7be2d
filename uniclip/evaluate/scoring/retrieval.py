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

from uniclip.evaluate.metrics import TIE, Float, Int, drawn
from uniclip.evaluate.protocols.protocol import DEPTHS
from uniclip.evaluate.scoring.score_card import Sheet

BLOCK = 1 << 21
"""Similarities held at once (8 MB as float32)."""


@dataclass(frozen=True)
class Ranks:
    """For each of n queries, where its best right key stands. All (n,) int64."""

    above: Int
    """Wrong keys that score higher."""
    tied: Int
    """Wrong keys in a tie with it."""
    right: Int
    """Right keys in that tie, itself included."""

    def hits(self, k: int) -> Float:
        """Whether a right key is among the first k, (n,) float64: 0 or 1, or between in a tie."""
        return drawn(self.right, self.tied, k - self.above)

    def places(self) -> Int:
        """The rank from 1, (n,) int64; in a tie the worst one."""
        return self.above + self.tied + 1

    def __getitem__(self, index: Int) -> Ranks:
        """The ranks of some queries."""
        return Ranks(self.above[index], self.tied[index], self.right[index])


@dataclass(frozen=True)
class Relation:
    """Which captions belong to which pictures: P pairs, ordered by picture."""

    texts: tuple[str, ...]
    """The distinct captions, in the order of their first picture."""
    image: Int
    """(P,) index of the pair's picture."""
    text: Int
    """(P,) index into `texts`."""


def relate(captions: Sequence[Sequence[str]]) -> Relation:
    """The relation of n pictures with one or more captions each.

    `[["a dog"], ["a cat", "a pet"], ["a pet"]]` gives texts ("a dog", "a cat", "a pet"), image
    [0, 1, 1, 2] and text [0, 1, 2, 2].
    """
    place: dict[str, int] = {}
    image, text = [], []
    for i, own in enumerate(captions):
        assert own, f"picture {i} has no caption"
        for caption in dict.fromkeys(own):
            image.append(i)
            text.append(place.setdefault(caption, len(place)))
    return Relation(tuple(place), np.array(image, np.int64), np.array(text, np.int64))


def ranks(
    queries: NDArray[Any], keys: NDArray[Any], query: Int, key: Int, tie: float = TIE
) -> Ranks:
    """Rank the keys for each query by their inner product.

    queries: (n, D). keys: (m, D). query, key: (P,) int64, the right pairs; each of the n queries
    has at least one. tie: inner products that differ by no more are a tie. The order of queries,
    keys and pairs changes nothing but the result's order.
    What is not finite says nothing: a model that broke down ties everywhere, so it is at chance.
    """
    queries, keys = _finite(queries), _finite(keys)
    order = np.argsort(query, kind="stable")
    query, key = query[order], key[order]
    first = np.searchsorted(query, np.arange(len(queries) + 1))
    assert (np.diff(first) > 0).all(), "a query without a right key"
    rows = max(1, BLOCK // max(1, len(keys)))
    buffer = np.empty((min(rows, len(queries)), len(keys)), np.result_type(queries, keys))
    blocks = []
    for start in range(0, len(queries), rows):
        stop = min(start + rows, len(queries))
        pairs = slice(first[start], first[stop])
        similarity = np.matmul(queries[start:stop], keys.T, out=buffer[: stop - start])
        blocks.append(_rank_block(similarity, query[pairs] - start, key[pairs], tie))
    return Ranks(*(np.concatenate(column) for column in zip(*blocks)))


def _finite(rows: NDArray[Any]) -> NDArray[Any]:
    """The rows themselves if they are finite; else with zeros in place of what is not."""
    if np.isfinite(rows.min(initial=0)) and np.isfinite(rows.max(initial=0)):
        return rows
    return np.nan_to_num(rows, nan=0, posinf=0, neginf=0)


def _rank_block(similarity: NDArray[Any], query: Int, key: Int, tie: float) -> tuple[Int, Int, Int]:
    own = similarity[query, key]  # of the same block: another product may round otherwise
    begins = np.flatnonzero(np.diff(query, prepend=-1))
    best = np.maximum.reduceat(own, begins)
    above = np.count_nonzero(similarity > (best + tie)[:, None], axis=1)  # never a right one
    reached = np.count_nonzero(similarity >= (best - tie)[:, None], axis=1)
    right = np.add.reduceat(own >= (best - tie)[query], begins, dtype=np.int64)
    return above, reached - above - right, right


def both_ways(
    images: NDArray[Any], texts: NDArray[Any], relation: Relation, tie: float = TIE
) -> tuple[Ranks, Ranks]:
    """Ranks of the captions for each picture (n), and of the pictures for each pair's caption (P).

    images: (n, D) unit rows. texts: (len(relation.texts), D) unit rows.
    """
    to_text = ranks(images, texts, relation.image, relation.text, tie)
    to_image = ranks(texts, images, relation.text, relation.image, tie)
    return to_text, to_image[relation.text]


def chances(relation: Relation, k: int) -> tuple[float, float]:
    """R@k of a random ranking, exactly: picture to caption, caption to picture."""
    n, m = int(relation.image.max()) + 1, len(relation.texts)
    of_image = np.bincount(relation.image, minlength=n)
    of_text = np.bincount(relation.text, minlength=m)[relation.text]
    return (
        float(drawn(of_image, m - of_image, k).mean()),
        float(drawn(of_text, n - of_text, k).mean()),
    )


def score(
    sheet: Sheet,
    images: NDArray[Any],
    texts: NDArray[Any],
    relation: Relation,
    tie: float = TIE,
) -> None:
    """Put R@1, R@5 and R@10 both ways on the sheet, their mean R@1, and the ranks.

    `retrieval.i2t` finds captions for pictures, `retrieval.t2i` pictures for captions. Published
    protocols take equal scores alone for a tie (tie=0).
    """
    to_text, to_image = both_ways(images, texts, relation, tie)
    for side, (way, found) in enumerate({"i2t": to_text, "t2i": to_image}.items()):
        for k in DEPTHS:
            chance = chances(relation, k)[side]
            sheet.add(f"retrieval.{way}.r{k}", found.hits(k), kind="recall", chance=chance)
        sheet.keep(f"retrieval.{way}.rank", found.places().astype(np.int32))
    add_mean(sheet, "retrieval.r1", to_text, to_image, relation)


def add_mean(sheet: Sheet, name: str, to_text: Ranks, to_image: Ranks, relation: Relation) -> None:
    """Put the mean of both ways' R@1 on the sheet.

    A picture's outcome is the mean of its own hit and its captions' share of theirs, weighted so
    that the mean over pictures is the mean of both scores whatever the number of captions.
    """
    n, pairs = len(to_text.above), len(relation.image)
    back = np.bincount(relation.image, weights=to_image.hits(1), minlength=n) * (n / pairs)
    chance = float(np.mean(chances(relation, 1)))
    sheet.add(name, (to_text.hits(1) + back) / 2, kind="recall", chance=chance)
