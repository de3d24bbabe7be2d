from __future__ import annotations

import numpy as np

from uniclip.evaluate.scoring import minimal_pairs

SIZES = (2, 3)


def test_columns_by_hand():
    values = np.array([[0, 2], [1, 0]])
    assert minimal_pairs.find_caption_columns(values, SIZES).tolist() == [2, 3]
    assert minimal_pairs.find_changed_columns(values, SIZES, 0).tolist() == [[5], [0]]
    assert minimal_pairs.find_changed_columns(values, SIZES, 1).tolist() == [[0, 1], [4, 5]]


def test_outcomes_by_hand():
    # Columns: (0,0) (0,1) (0,2) (1,0) (1,1) (1,2). The truth is (0,2), then (1,0).
    similarity = np.array([[0.9, 0.1, 0.5, 0.0, 0.0, 0.5], [0.2, 0, 0, 0.1, 0.3, 0.4]], np.float32)
    first, second = minimal_pairs.compute_win_rates(similarity, np.array([[0, 2], [1, 0]]), SIZES)
    assert first.tolist() == [0.5, 0.0]  # a tie with (1,2); 0.1 against 0.2
    assert second.tolist() == [0.5, 0.0]  # beats 0.1, loses to 0.9; loses to both


def test_oracle_wins_all_and_a_model_blind_to_one_attribute_ties_there():
    values = np.stack(np.unravel_index(np.arange(6), SIZES), axis=1)
    assert all((o == 1).all() for o in minimal_pairs.compute_win_rates(np.eye(6), values, SIZES))
    blind = np.kron(np.ones((2, 2)), np.eye(3))  # sees the second attribute alone
    first, second = minimal_pairs.compute_win_rates(blind, values, SIZES)
    assert (first == 0.5).all()
    assert (second == 1).all()
