"""Alarms about a score: is it above chance, and are labels in another order than the names?

If the labels of a data set are numbered otherwise than its class names, a good model's predictions
are right after a renaming of the classes, and near chance as they stand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uniclip.evaluate.metrics import Int

MIN_ACCURACY_RATIO = 2.0
"""A renaming that makes the accuracy this many times as high is an alarm, if it is no accident."""

MIN_SIGN_TEST_Z = 5.0
"""How many standard deviations of a sign test make it no accident."""


@dataclass(frozen=True)
class ClassPermutation:
    """The renaming of classes under which the predictions fit the labels best."""

    accuracy: float
    """As the classes are, on the half of the samples that did not choose the renaming."""
    permuted_accuracy: float
    """After the renaming, on the same half."""
    moved_classes: tuple[tuple[int, int], ...]
    """(predicted class, the label it goes with) where these differ."""
    sign_test_z: float
    """Standard deviations of the sign test between both."""

    @property
    def labels_misordered(self) -> bool:
        """Whether labels and names seem to be in different orders."""
        return (
            self.sign_test_z > MIN_SIGN_TEST_Z
            and self.permuted_accuracy > MIN_ACCURACY_RATIO * self.accuracy
        )

    def describe(self, dataset: str) -> str:
        """What a report says of it."""
        return (
            f"{dataset}: labels and class names may be in different orders: accuracy "
            f"{self.accuracy:.3f} as named, {self.permuted_accuracy:.3f} with {len(self.moved_classes)} classes "
            "renamed"
        )


def find_class_permutation(prediction: Int, labels: Int, classes: int) -> ClassPermutation:
    """Find the best renaming on every other sample of each class, and judge it on the rest.

    prediction, labels: (n,) int64 in 0 .. classes - 1. The two halves keep a renaming from being
    praised for the noise that it was fitted to: that of a model at chance gains nothing.
    """
    from scipy.optimize import linear_sum_assignment

    order = np.argsort(labels, kind="stable")
    fit_index, test_index = order[::2], order[1::2]
    confusion = np.zeros((classes, classes))
    np.add.at(confusion, (prediction[fit_index], labels[fit_index]), 1)
    confusion[np.diag_indices(classes)] += 1e-6  # of equal renamings the one that moves least
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
    """Whether an accuracy is more than three standard deviations above its chance level."""
    return value > chance + 3 * (chance * (1 - chance) / max(samples, 1)) ** 0.5
