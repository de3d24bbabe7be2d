"""The data sets of `benchmark=finetune`: the whole image encoder is trained on each.

Each has the images, labels, splits, prompts and metric of a classification data set. A data set
without a published validation split selects on images that are held out of training.
"""

from __future__ import annotations

from collections.abc import Sequence

from uniclip.evaluate.datasets.dataset import VALIDATION_ONE_IN, Dataset
from uniclip.evaluate.datasets.same_images import build_same_images_dataset, select_trainable

SUFFIX = "_finetune"


def build_fine_tuning_datasets(sources: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """Return the data set of fine-tuning of each classification data set with training images."""
    return tuple(build_fine_tuning_dataset(source) for source in select_trainable(sources))


def build_fine_tuning_dataset(source: Dataset) -> Dataset:
    """Return the data set of fine-tuning on one classification data set."""
    return build_same_images_dataset(source, SUFFIX, "fine-tuned", "fine_tuning")


def count_published_images(dataset: Dataset) -> tuple[int, int, int]:
    """Return the images of training, validation and test as published."""
    source = dataset.source or dataset
    counts = source.expected_counts
    held_out = counts["train"] // VALIDATION_ONE_IN if source.held_out else 0
    return counts["train"] - held_out, counts.get("validation", held_out), counts["test"]
