"""The data sets of `benchmark=fewshot`: probes of a few training images, and nearest neighbors.

Each has the images, labels and splits of a classification data set. A data set without a published
validation split selects the penalty on images that are held out of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.readers.same_images import SameImagesReader

SUFFIX = "_fewshot"


def build_few_shot_datasets(sources: Sequence[Dataset]) -> tuple[Dataset, ...]:
    """Return the data set of few shots of each classification data set with training images."""
    return tuple(
        build_few_shot_dataset(source)
        for source in sources
        if source.kind == "classification" and {"train", "validation"} <= set(source.splits)
    )


def build_few_shot_dataset(source: Dataset) -> Dataset:
    """Return the data set of few shots of one classification data set."""
    stored_splits = {s: "train" if s not in source.files else s for s in source.splits}
    return replace(
        source,
        name=f"{source.name}{SUFFIX}",
        title=f"{source.title}, few shots",
        kind="few_shot",
        metric="accuracy",
        files={split: source.files[stored] for split, stored in stored_splits.items()},
        reader=SameImagesReader(source),
        held_out=False,
        expected_counts={},
        torchvision=None,
        class_names_from=source.class_names_from or source.name,
        templates_from=source.templates_from or source.name,
        all_images=None,
        source=source,
    )
