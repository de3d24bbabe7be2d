"""SUN397 (Xiao et al. 2010), first official partition: 19,850 pictures to train and to test.

torchvision takes all 108,754 pictures for any part, in the order of the file system.
"""

from __future__ import annotations

from pathlib import Path

from uniclip.data.split import SplitName
from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset, locate
from uniclip.evaluate.datasets.images import ImageDataset, build_classification_dataset

PARTITION_FILES = {"train": "Training_01.txt", "test": "Testing_01.txt"}


def read(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """Classes as ClassName.txt has them without the letter: "abbey", "apartment_building/outdoor".

    Lines of both files start with "/", such as "/a/abbey/sun_aaalbzqrimafwbiv.jpg".
    """
    folder = root / "SUN397"
    classes = _read_classes(folder)
    labels = {name: i for i, name in enumerate(classes)}
    path = locate(root, next(w for w in dataset.files[split] if PARTITION_FILES[split] in w))
    files = []
    for line in path.read_text(encoding="utf-8").split():
        name = line.strip("/")
        label = name.split("/", 1)[1].rsplit("/", 1)[0]
        if label not in labels:
            raise UserError(f"{path}: {line} is of no class in ClassName.txt")
        files.append((name, folder / name, labels[label]))
    return build_classification_dataset(dataset, split, sorted(files), classes)


def read_all(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """All 108,754 pictures, as torchvision gives them for any part, but in order."""
    folder = root / "SUN397"
    classes = _read_classes(folder)
    labels = {name: i for i, name in enumerate(classes)}
    paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("sun_*.jpg")}
    files = [(n, p, labels[n.split("/", 1)[1].rsplit("/", 1)[0]]) for n, p in paths.items()]
    return build_classification_dataset(dataset, split, sorted(files), classes)


def _read_classes(folder: Path) -> list[str]:
    names = (folder / "ClassName.txt").read_text(encoding="utf-8").split()
    return [name.strip("/").split("/", 1)[1] for name in names]
