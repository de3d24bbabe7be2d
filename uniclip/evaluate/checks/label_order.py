"""Checks of a score: is it above chance, and are labels numbered in the order of the class names?

If the labels of a data set are numbered differently from its class names, a good model's
predictions are right after a permutation of the classes, and near chance without.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uniclip.evaluate.metrics import Int

MIN_ACCURACY_RATIO = 2.0
"""A permutation that multiplies the accuracy by more than this is reported, if significant."""

MIN_SIGN_TEST_Z = 5.0
"""Standard deviations of a sign test above which the gain is significant."""


@dataclass(frozen=True)
class ClassPermutation:
    """The permutation of classes under which the predictions fit the labels best."""

    accuracy: float
    """Without it, on the half of the samples that did not select the permutation."""
    permuted_accuracy: float
    """With the permutation, on the same half."""
    moved_classes: tuple[tuple[int, int], ...]
    """(predicted class, label that it is mapped to) where these differ."""
    sign_test_z: float
    """Sign test between both accuracies, in standard deviations."""

    @property
    def labels_misordered(self) -> bool:
        """Whether labels and class names seem to be in different orders."""
        return (
            self.sign_test_z > MIN_SIGN_TEST_Z
            and self.permuted_accuracy > MIN_ACCURACY_RATIO * self.accuracy
        )

    def describe(self, dataset: str) -> str:
        """Return the finding as a sentence for a report."""
        return (
            f"{dataset}: labels and class names may be in different orders: accuracy "
            f"{self.accuracy:.3f} as named, {self.permuted_accuracy:.3f} with "
            f"{len(self.moved_classes)} classes permuted"
        )


def find_class_permutation(prediction: Int, labels: Int, classes: int) -> ClassPermutation:
    """Select the best permutation on every other sample of each class, and test it on the rest.

    prediction, labels: (n,) int64 in 0 .. classes - 1. With separate halves a permutation gains
    nothing from the noise that it was fitted to: that of a model at chance has no effect.
    """
    from scipy.optimize import linear_sum_assignment

    order = np.argsort(labels, kind="stable")
    fit_index, test_index = order[::2], order[1::2]
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (prediction[fit_index], labels[fit_index]), 1)
    confusion[np.diag_indices(classes)] += 1e-6  # of equal permutations the one that moves fewest
    _, label_of = linear_sum_assignment(confusion, maximize=True)
    correct = prediction[test_index] == labels[test_index]
    correct_permuted = label_of[prediction[test_index]] == labels[test_index]
    better, worse = (
        int((correct_permuted & ~correct).sum()),
        int((correct & ~correct_permuted).sum()),
    )
    moved_classes = [(c, int(label)) for c, label in enumerate(label_of) if c != label]
    return ClassPermutation(
        accuracy=float(correct.mean()) if len(test_index) else 0.0,
        permuted_accuracy=float(correct_permuted.mean()) if len(test_index) else 0.0,
        moved_classes=tuple(moved_classes),
        sign_test_z=(better - worse) / max(better + worse, 1) ** 0.5,
    )


def is_above_chance(value: float, chance: float, samples: int) -> bool:
    """Return whether an accuracy is over three standard deviations above its chance level."""
    return bool(value > chance + 3 * (chance * (1 - chance) / max(samples, 1)) ** 0.5)
