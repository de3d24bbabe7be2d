"""SUN397 (Xiao et al. 2010), first official partition: 19,850 images to train and to test.

torchvision takes all 108,754 images for any split, in the order of the file system.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader, locate
from uniclip.evaluate.datasets.images import ImageDataset, build_classification_dataset

if TYPE_CHECKING:
    from uniclip.data.split import SplitName

PARTITION_FILES = {"train": "Training_01.txt", "test": "Testing_01.txt"}


class Sun397Reader(SplitReader):
    """Classes are those of ClassName.txt without the letter: "abbey", "apartment_building/outdoor".

    Lines of both files start with "/", such as "/a/abbey/sun_aaalbzqrimafwbiv.jpg".
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        folder = root / "SUN397"
        classes = _read_classes(folder)
        labels = {name: i for i, name in enumerate(classes)}
        path = locate(root, next(p for p in dataset.files[split] if PARTITION_FILES[split] in p))
        files = []
        for line in path.read_text(encoding="utf-8").split():
            name = line.strip("/")
            if _class_of(name) not in labels:
                raise UserError(f"{path}: {line} is of no class in ClassName.txt")
            files.append((name, folder / name, labels[_class_of(name)]))
        return build_classification_dataset(dataset, split, sorted(files), classes)


class Sun397AllReader(SplitReader):
    """All 108,754 images, as torchvision returns them for any split, but sorted."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        folder = root / "SUN397"
        classes = _read_classes(folder)
        labels = {name: i for i, name in enumerate(classes)}
        paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("sun_*.jpg")}
        files = [(name, path, labels[_class_of(name)]) for name, path in paths.items()]
        return build_classification_dataset(dataset, split, sorted(files), classes)


def _class_of(name: str) -> str:
    """Return the class of an image: "a/abbey/sun_x.jpg" is of class "abbey"."""
    return name.split("/", 1)[1].rsplit("/", 1)[0]


def _read_classes(folder: Path) -> list[str]:
    names = (folder / "ClassName.txt").read_text(encoding="utf-8").split()
    return [name.strip("/").split("/", 1)[1] for name in names]
