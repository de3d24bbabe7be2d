"""Data sets with the images of another one."""

from __future__ import annotations

from uniclip.evaluate import datasets
from uniclip.evaluate.datasets import same_images


def test_both_kinds_have_the_files_and_splits_of_their_source() -> None:
    for dataset in datasets.DATASETS.values():
        if dataset.kind in same_images.SAME_IMAGES_KINDS:
            source = dataset.source
            assert source is not None
            assert dataset.splits == source.splits
            assert dataset.files["test"] == source.files["test"]
            assert dataset.name.rpartition("_")[0] == source.name


def test_only_labelled_images_with_a_training_split_are_selected() -> None:
    sources = [datasets.get(name) for name in ("cifar10", "voc2007", "flickr30k", "imagenet_a")]
    assert [d.name for d in same_images.select_trainable(sources)] == ["cifar10"]
