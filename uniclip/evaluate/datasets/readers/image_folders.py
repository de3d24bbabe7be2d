"""Data sets with one folder for each class, whose name is the key of the class."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.errors import UserError
from uniclip.evaluate.datasets import holdout
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader
from uniclip.evaluate.datasets.images import ImageDataset, build_classification_dataset

if TYPE_CHECKING:
    from uniclip.data.split import SplitName

IMAGE_SUFFIXES = {
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"),
    *(".ppm", ".pgm", ".tif", ".tiff"),
}
SYNSET = re.compile(r"n\d{8}")
CALTECH_TRAIN_PER_CLASS = 30
EUROSAT_TRAIN_PER_CLASS, EUROSAT_TEST_PER_CLASS = 1000, 500


class FolderReader(SplitReader):
    """`<split>/<class>/...` with the split folders of `Dataset.files`, or `<class>/...` alone.

    Classes are the folders of the test split. Also reads all images of Caltech-101 and EuroSAT as
    one split, as CLIP_benchmark tests them.
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        (name,) = dataset.files[split]
        (test_folder,) = dataset.files["test"]
        return _read_class_folders(dataset, split, root / name, list_folders(root / test_folder))


@dataclass(frozen=True)
class SplitFolderReader(SplitReader):
    """`<folder>/{train,valid,test}/<class>/...`; classes are the folders of the test split.

    Country211 (Radford et al. 2021), whose classes are ISO 3166 codes; Rendered SST2 (Radford et
    al. 2021), sentences rendered as images, "negative" or "positive".
    """

    folder: str
    """Folder of the data set under the data root."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        folder = root / self.folder
        split_folder = "valid" if split == "validation" else split
        classes = list_folders(folder / "test")
        return _read_class_folders(dataset, split, folder / split_folder, classes)


class ImagenetReader(SplitReader):
    """ImageNet-1k (ILSVRC 2012); classes are WordNet ids in their order, "n01440764" first.

    The test split is the official validation set.
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        names = [n for n in list_folders(root / "imagenet/val") if SYNSET.fullmatch(n)]
        if not names:
            raise UserError(
                f"{root / 'imagenet/val'} has no synset folders such as n01440764: sort its images"
            )
        folder = root / "imagenet" / ("val" if split == "test" else "train")
        return _read_class_folders(dataset, split, folder, names)


class Caltech101Reader(SplitReader):
    """Caltech-101 (Fei-Fei et al. 2004), all 102 folders, BACKGROUND_Google included, as in CLIP.

    There is no official list: 30 images of each class are for training, by a hash of their names,
    and the rest (3,060 and 6,084) for testing. torchvision drops the background and has no splits.
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        folder = root / "caltech101/101_ObjectCategories"
        all_images = _read_class_folders(dataset, split, folder, list_folders(folder))
        class_rank, _ = holdout.rank_within_class(all_images)
        is_train = class_rank < CALTECH_TRAIN_PER_CLASS
        is_selected = is_train if split == "train" else ~is_train
        return all_images.subset(is_selected.nonzero()[0], split)


class EurosatReader(SplitReader):
    """EuroSAT (Helber et al. 2019), RGB.

    CLIP's 10,000 and 5,000 images are listed nowhere public: the same numbers, 1,000 and 500 of
    each class, by a hash of their names (a third for testing where a class has fewer than 1,500).
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        import numpy as np

        folder = root / "eurosat/2750"
        all_images = _read_class_folders(dataset, split, folder, list_folders(folder))
        class_rank, class_size = holdout.rank_within_class(all_images)
        num_test = np.minimum(EUROSAT_TEST_PER_CLASS, class_size // 3)
        is_train = (class_rank >= num_test) & (class_rank < num_test + EUROSAT_TRAIN_PER_CLASS)
        is_selected = class_rank < num_test if split == "test" else is_train
        return all_images.subset(np.flatnonzero(is_selected), split)


def _read_class_folders(
    dataset: Dataset, split: SplitName, folder: Path, classes: list[str]
) -> ImageDataset:
    """Read the images below each class's folder, sorted by name; hidden files are skipped."""
    unknown_classes = sorted(set(list_folders(folder)) - set(classes))
    if unknown_classes and dataset.name != "imagenet":
        raise UserError(
            f"{folder} has a class that the test split lacks: {unknown_classes[0]}; "
            "every split needs the same classes"
        )
    files = [
        (f"{name}/{file_name}", f"{folder / name}/{file_name}", label)
        for label, name in enumerate(classes)
        for file_name in list_images(folder / name)
    ]
    return build_classification_dataset(dataset, split, files, classes)


def list_images(folder: Path) -> list[str]:
    """Return the names of the images below `folder`, sorted.

    Text, not paths: ImageNet has over a million.
    """
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


def list_folders(folder: Path) -> list[str]:
    """Return the names of the visible folders in `folder`, sorted."""
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
