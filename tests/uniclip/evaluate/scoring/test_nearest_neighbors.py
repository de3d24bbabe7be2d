"""Votes of the nearest images, by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from uniclip.errors import StopRequested
from uniclip.evaluate.scoring.nearest_neighbors import count_votes

KEYS, LABELS = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]]), np.array([1, 0, 2])
QUERY = np.array([[5.0, 0.0]])


def test_votes_are_weighted_by_the_cosine() -> None:
    assert count_votes(QUERY, KEYS, LABELS, 3, 2, 0.5)[0] == pytest.approx([1, np.exp(2), 0])
    every = count_votes(QUERY, KEYS, LABELS, 3, 9, 0.5)
    assert every[0] == pytest.approx([1, np.exp(2), np.exp(-2)]), "all keys, if there are fewer"


def test_votes_equal_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits
    from sklearn.neighbors import KNeighborsClassifier

    digits = load_digits()
    keys, labels, queries = digits.data[:900], digits.target[:900], digits.data[900:1_200]
    peer = KNeighborsClassifier(
        *(20,), metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
    )
    peer.fit(keys, labels)
    expected = peer.predict_proba(queries)
    whole = count_votes(queries, keys, labels, 10, 20, 0.07)
    monkeypatch.setattr("uniclip.evaluate.scoring.nearest_neighbors.SIMILARITIES_PER_BLOCK", 7_000)
    blocks = count_votes(queries, keys, labels, 10, 20, 0.07)
    for votes in (whole, blocks):
        assert np.abs(votes / votes.sum(axis=1, keepdims=True) - expected).max() < 1e-9
        accuracy = (votes.argmax(axis=1) == digits.target[900:1_200]).mean()
        assert accuracy == pytest.approx(peer.score(queries, digits.target[900:1_200]), abs=1e-3)


def test_it_stops_when_it_is_asked_to() -> None:
    with pytest.raises(StopRequested):
        count_votes(QUERY, KEYS, LABELS, 3, 2, 0.5, should_stop=lambda: True)
