from __future__ import annotations

import numpy as np

from uniclip.evaluate.checks import label_order


def predictions(labels, right, classes, seed=0):
    """Right in a share of cases, else anything."""
    random = np.random.default_rng(seed)
    guess = random.integers(0, classes, len(labels))
    return np.where(random.random(len(labels)) < right, labels, guess)


def test_labels_in_another_order_are_detected():
    labels = np.arange(400) % 8
    order = np.array([3, 1, 0, 2, 5, 4, 7, 6])
    prediction = order[predictions(labels, 0.6, 8)]
    permutation = label_order.find_class_permutation(prediction, labels, 8)
    assert permutation.labels_misordered
    assert dict(permutation.moved_classes) == {int(p): c for c, p in enumerate(order) if c != p}
    assert permutation.permuted_accuracy > 0.5 > permutation.accuracy
    assert "7 classes permuted" in permutation.describe("flowers102")


def test_a_good_model_passes():
    labels = np.arange(400) % 8
    permutation = label_order.find_class_permutation(predictions(labels, 0.6, 8), labels, 8)
    assert not permutation.labels_misordered
    assert permutation.moved_classes == ()


def test_a_model_at_chance_passes():
    """The best renaming of noise fits it well: only the other half may judge it."""
    for seed in range(20):
        labels = np.arange(300) % 30
        assert not label_order.find_class_permutation(
            predictions(labels, 0.0, 30, seed), labels, 30
        ).labels_misordered


def test_a_constant_model_and_one_sample():
    labels = np.arange(50) % 5
    assert not label_order.find_class_permutation(
        np.zeros(50, np.int64), labels, 5
    ).labels_misordered
    one = np.zeros(1, np.int64)
    assert not label_order.find_class_permutation(one, one, 1).labels_misordered


def test_above_chance():
    assert label_order.is_above_chance(0.5, 0.1, 100)
    assert not label_order.is_above_chance(0.15, 0.1, 100)
    assert not label_order.is_above_chance(0.1, 0.1, 0)
