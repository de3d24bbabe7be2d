"""Association of images with a word, by the Jaccard index (WinoGAViL; Bitton et al., 2022).

Of the candidates of a cue those k are chosen that are nearest to it, k being the number of images
that people associate with it. A tie is broken against the model. Sets of 10 and 12 candidates are
harder than those of 5 and 6: DataComp's main metric is over the former.
"""

from __future__ import annotations

from math import comb

import numpy as np

from uniclip.evaluate.datasets.images import ImageDataset
from uniclip.evaluate.metrics import Float, Numbers
from uniclip.evaluate.outcome_clusters import CLUSTER_ARRAY
from uniclip.evaluate.scoring.score_card import ScoreCard
from uniclip.evaluate.scoring.score_names import join_class_name

NAME = "association.jaccard"
SIZES = {"5-6": (0, 6), "10-12": (10, 12)}
"""Name of a range of numbers of candidates -> its ends."""


def score_association(
    score_card: ScoreCard, images: Numbers, cues: Numbers, test: ImageDataset
) -> None:
    """Add the mean index over all cues, and over those with few and with many candidates.

    Args:
        score_card: Where they are added. `family` is the set of candidates of each cue, which
            several cues share.
        images: (n, D) unit rows of the candidates.
        cues: (n, D) unit rows of the cue of each candidate.
        test: The candidates: their cues (`pairs`) and labels, 1 = associated.
    """
    assert test.labels is not None
    assert test.pairs is not None
    assert test.picture_rows is not None
    similarity = np.nan_to_num(np.einsum("nd,nd->n", images, cues))
    index, chance, sizes, families = [], [], [], []
    number_of_set: dict[tuple[int, ...], int] = {}
    for item in np.unique(test.pairs):
        rows = np.flatnonzero(test.pairs == item)
        is_associated = test.labels[rows] == 1
        index.append(compute_jaccard(similarity[rows], is_associated))
        chance.append(expect_jaccard(len(rows), int(is_associated.sum())))
        sizes.append(len(rows))
        candidates = tuple(sorted(test.picture_rows[rows].tolist()))
        families.append(number_of_set.setdefault(candidates, len(number_of_set)))
    _add_scores(score_card, np.array(index), np.array(chance), np.array(sizes))
    score_card.add_array(CLUSTER_ARRAY, np.array(families, np.uint64))


def compute_jaccard(similarity: Numbers, is_associated: Numbers) -> float:
    """Return the Jaccard index of the k most similar candidates and the k associated ones.

    similarity, is_associated: (m,) of the candidates of a cue.
    """
    num_associated = int(is_associated.sum())
    order = np.lexsort((is_associated, -similarity))
    hits = int(is_associated[order[:num_associated]].sum())
    return hits / (2 * num_associated - hits)


def expect_jaccard(num_candidates: int, num_associated: int) -> float:
    """Return the expected index of a random choice (hypergeometric number of hits)."""
    k, others = num_associated, num_candidates - num_associated
    ways = [comb(k, hits) * comb(others, k - hits) for hits in range(k + 1)]
    indices = [hits / (2 * k - hits) for hits in range(k + 1)]
    return sum(w * i for w, i in zip(ways, indices)) / comb(num_candidates, k)


def _add_scores(score_card: ScoreCard, index: Float, chance: Float, sizes: Numbers) -> None:
    score_card.add_outcomes(NAME, index, kind="jaccard", chance=float(chance.mean()))
    for name, (smallest, largest) in SIZES.items():
        rows = (sizes >= smallest) & (sizes <= largest)
        if rows.any():
            score_card.add_scalar(
                join_class_name(NAME, name),
                float(index[rows].mean()),
                kind="jaccard",
                samples=int(rows.sum()),
                chance=float(chance[rows].mean()),
                report_only=True,
            )
