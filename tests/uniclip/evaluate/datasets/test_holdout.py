"""Held-out parts: a share of every class, the same whatever the order and wherever it is drawn."""

from __future__ import annotations

import numpy as np

from uniclip.evaluate.datasets import holdout
from uniclip.evaluate.datasets.images import ArrayReader, ImageDataset

SIZES = (1, 2, 10, 11)


def pictures(order: np.ndarray | None = None) -> ImageDataset:
    """Classes of 1, 2, 10 and 11 pictures."""
    labels = np.repeat(np.arange(len(SIZES)), SIZES)
    order = np.arange(len(labels)) if order is None else order
    return ImageDataset(
        name="some",
        split="train",
        kind="classification",
        metric="accuracy",
        ids=tuple(f"p{i}" for i in order),
        reader=ArrayReader(np.zeros((len(labels), 2, 2), np.uint8)),
        labels=labels[order],
        classes=tuple("abcd"),
    )


def test_one_in_ten_of_each_class_is_held_out() -> None:
    held = holdout.select_held_out(pictures(), "validation", 10)
    training = holdout.select_held_out(pictures(), "train", 10)
    assert held.labels is not None
    assert np.bincount(held.labels, minlength=4).tolist() == [0, 1, 1, 2]
    assert (held.split, training.split) == ("validation", "train")
    assert set(held.ids) | set(training.ids) == set(pictures().ids)
    assert not set(held.ids) & set(training.ids)


def test_the_draw_depends_on_names_only() -> None:
    back = holdout.select_held_out(pictures(np.arange(sum(SIZES))[::-1]), "validation", 10)
    held = holdout.select_held_out(pictures(), "validation", 10)
    assert set(back.ids) == set(held.ids)
    assert list(zip(back.ids, back.labels)) != list(zip(held.ids, held.labels))  # order is kept
    assert held.ids == ("p2", "p12", "p19", "p20")  # for ever: scores depend on it
