"""Sets with one folder a class: its name is the class's key, whatever else lies there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from uniclip.data.split import SplitName
from uniclip.errors import UserError
from uniclip.evaluate.datasets import holdout
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import ImageDataset, build_classification_dataset

IMAGE_SUFFIXES = {
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"),
    *(".ppm", ".pgm", ".tif", ".tiff"),
}
SYNSET = re.compile(r"n\d{8}")
CALTECH_TRAIN_PER_CLASS = 30
EUROSAT_TRAIN_PER_CLASS, EUROSAT_TEST_PER_CLASS = 1000, 500


def imagenet(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """ImageNet-1k (ILSVRC 2012); classes are WordNet ids in their order, "n01440764" first.

    The test part is the official validation set.
    """
    names = [n for n in _list_folders(root / "imagenet/val") if SYNSET.fullmatch(n)]
    if not names:
        raise UserError(
            f"{root / 'imagenet/val'} has no synset folders such as n01440764: sort its pictures"
        )
    folder = root / "imagenet" / ("val" if split == "test" else "train")
    return _read_class_folders(dataset, split, folder, names)


def caltech101(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """Caltech-101 (Fei-Fei et al. 2004), all 102 folders, BACKGROUND_Google too, as CLIP has it.

    There is no official list: 30 pictures of each class to train, by a hash of their names, and the
    rest (3,060 and 6,084) to test. torchvision drops the background and knows no parts.
    """
    folder = root / "caltech101/101_ObjectCategories"
    all_images = _read_class_folders(dataset, split, folder, _list_folders(folder))
    class_rank, _ = holdout.rank_within_class(all_images)
    is_selected = (
        class_rank < CALTECH_TRAIN_PER_CLASS
        if split == "train"
        else class_rank >= CALTECH_TRAIN_PER_CLASS
    )
    return all_images.subset(np.flatnonzero(is_selected), split)


def eurosat(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """EuroSAT (Helber et al. 2019), RGB.

    CLIP's 10,000 and 5,000 pictures are listed nowhere public: the same numbers, 1,000 and 500 of
    each class, by a hash of their names (a third to test where a class has fewer than 1,500).
    """
    folder = root / "eurosat/2750"
    all_images = _read_class_folders(dataset, split, folder, _list_folders(folder))
    class_rank, class_size = holdout.rank_within_class(all_images)
    num_test = np.minimum(EUROSAT_TEST_PER_CLASS, class_size // 3)
    is_train = (class_rank >= num_test) & (class_rank < num_test + EUROSAT_TRAIN_PER_CLASS)
    return all_images.subset(
        np.flatnonzero(class_rank < num_test if split == "test" else is_train), split
    )


def read_all(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """Every picture of a set of folders, as CLIP_benchmark tests Caltech-101 and EuroSAT."""
    (name,) = dataset.files[split]
    return _read_class_folders(dataset, split, root / name, _list_folders(root / name))


def country211(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """Country211 (Radford et al. 2021); classes are ISO 3166 codes."""
    folder = root / "country211"
    split_folder = "valid" if split == "validation" else split
    return _read_class_folders(
        dataset, split, folder / split_folder, _list_folders(folder / "test")
    )


def rendered_sst2(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """Rendered SST2 (Radford et al. 2021): sentences as pictures, "negative" or "positive"."""
    folder = root / "rendered-sst2"
    split_folder = "valid" if split == "validation" else split
    return _read_class_folders(
        dataset, split, folder / split_folder, _list_folders(folder / "test")
    )


def read_user_folder(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """Anybody's folders: `<part>/<class>/...`, or `<class>/...` alone, all of it for the test."""
    (name,) = dataset.files[split]
    (test_folder,) = dataset.files["test"]
    return _read_class_folders(dataset, split, root / name, _list_folders(root / test_folder))


def _read_class_folders(
    dataset: Dataset, split: SplitName, folder: Path, classes: list[str]
) -> ImageDataset:
    """The pictures beneath each class's folder, in order of name; hidden files are passed over."""
    unknown_classes = sorted(set(_list_folders(folder)) - set(classes))
    if unknown_classes and dataset.name != "imagenet":
        raise UserError(
            f"{folder} has a class that the test part lacks: {unknown_classes[0]}; give every part the same"
        )
    files = [
        (f"{name}/{file_name}", f"{folder / name}/{file_name}", label)
        for label, name in enumerate(classes)
        for file_name in _list_images(folder / name)
    ]
    return build_classification_dataset(dataset, split, files, classes)


def _list_images(folder: Path) -> list[str]:
    """Names beneath `folder`, sorted. (Text, not paths: ImageNet has more than a million.)"""
    paths: list[str] = []
    for directory, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".")]
        relative_directory = os.path.relpath(directory, folder)
        prefix = "" if relative_directory == "." else f"{relative_directory}/"
        paths += [
            prefix + n
            for n in names
            if n[:1] != "." and n[n.rfind(".") :].lower() in IMAGE_SUFFIXES
        ]
    return sorted(paths)


def _list_folders(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
