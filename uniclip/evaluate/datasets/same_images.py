"""Data sets with the images, labels and splits of another one, for another kind of evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.readers.same_images import SameImagesReader

if TYPE_CHECKING:
    from uniclip.evaluate.datasets.images import DatasetKind

SAME_IMAGES_KINDS = ("few_shot", "fine_tuning")
"""Kinds of data sets that have the files of others, training images among them."""


def select_trainable(sources: Sequence[Dataset]) -> Iterator[Dataset]:
    """Yield the classification data sets with training images."""
    for source in sources:
        if source.kind == "classification" and {"train", "validation"} <= set(source.splits):
            yield source


def build_same_images_dataset(
    source: Dataset, suffix: str, title: str, kind: DatasetKind, **changes: Any
) -> Dataset:
    """Return a data set with the images of `source`.

    Args:
        source: A classification data set with training images.
        suffix: Added to its name.
        title: Added to its title.
        kind: Kind of the evaluation.
        changes: Other fields that differ.
    """
    stored_splits = {s: "train" if s not in source.files else s for s in source.splits}
    return replace(
        source,
        name=f"{source.name}{suffix}",
        title=f"{source.title}, {title}",
        kind=kind,
        files={split: source.files[stored] for split, stored in stored_splits.items()},
        reader=SameImagesReader(source),
        held_out=False,
        expected_counts={},
        torchvision=None,
        class_names_from=source.class_names_from or source.name,
        templates_from=source.templates_from or source.name,
        all_images=None,
        source=source,
        **changes,
    )
