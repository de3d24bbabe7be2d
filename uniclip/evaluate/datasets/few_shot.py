"""The data sets of `benchmark=fewshot`: probes of a few training images, and nearest neighbors.

Each has the images, labels and splits of a classification data set. A data set without a published
validation split selects the penalty on images that are held out of training.
"""

from __future__ import annotations

from collections.abc import Sequence

from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.same_images import build_same_images_dataset, select_trainable

SUFFIX = "_fewshot"


def build_few_shot_datasets(sources: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """Return the data set of few shots of each classification data set with training images."""
    return tuple(build_few_shot_dataset(source) for source in select_trainable(sources))


def build_few_shot_dataset(source: Dataset) -> Dataset:
    """Return the data set of few shots of one classification data set."""
    return build_same_images_dataset(source, SUFFIX, "few shots", "few_shot", metric="accuracy")
