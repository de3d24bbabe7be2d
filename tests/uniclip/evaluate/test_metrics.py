from __future__ import annotations

import itertools

import numpy as np
import pytest

from uniclip.evaluate import metrics


def test_wins_counts_ties_as_half():
    right = np.array([0.5, 0.5], np.float32)
    wrong = np.array([[0.4, 0.5, 0.6], [0.1, 0.2, 0.3]], np.float32)
    assert metrics.wins(right, wrong).tolist() == [0.5, 1.0]


def test_wins_of_a_constant_model_is_one_half():
    same = np.full((7, 4), 0.3, np.float32)
    same[:, 0] += 1e-7  # rounding, not an opinion
    assert (metrics.wins(same[:, 0], same[:, 1:]) == 0.5).all()


@pytest.mark.parametrize(("right", "wrong", "draws"), [(1, 3, 2), (2, 3, 2), (3, 1, 2), (2, 0, 1)])
def test_drawn_equals_enumeration(right, wrong, draws):
    keys = [True] * right + [False] * wrong
    hands = [any(hand) for hand in itertools.combinations(keys, draws)]
    assert metrics.drawn(right, wrong, draws) == pytest.approx(np.mean(hands))


def test_drawn_limits():
    counts = np.array([1, 1, 1])
    assert metrics.drawn(counts, counts * 4, np.array([-1, 0, 9])).tolist() == [0, 0, 1]
    assert metrics.drawn(0, 5, 3) == 0


def test_calibration_error_by_hand():
    confidence = np.array([0.9, 0.9, 0.55, 0.55])
    outcome = np.array([1, 0, 1, 1])
    # Bin of 0.9: accuracy 0.5, off by 0.4. Bin of 0.55: accuracy 1, off by 0.45.
    assert metrics.calibration_error(confidence, outcome) == pytest.approx(0.425)


def test_calibration_error_of_a_calibrated_model_is_zero():
    confidence = np.full(4, 0.75)
    assert metrics.calibration_error(confidence, np.array([1, 1, 1, 0])) == pytest.approx(0)
    assert metrics.calibration_error(np.ones(3), np.ones(3)) == 0


def test_softmax_does_not_overflow():
    rows = metrics.softmax(np.array([[1e5, 0.0], [0.0, 0.0]]))
    assert rows.tolist() == [[1, 0], [0.5, 0.5]]
