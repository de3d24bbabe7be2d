"""ImageNet under distribution shift: other images of ImageNet's classes, or of some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.errors import UserError
from uniclip.evaluate import prompts
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader
from uniclip.evaluate.datasets.images import (
    FileReader,
    ImageDataset,
    build_classification_dataset,
)
from uniclip.evaluate.datasets.readers.image_folders import list_folders, list_images
from uniclip.store.json_io import read_json

if TYPE_CHECKING:
    from PIL import Image

    from uniclip.data.split import SplitName

OBJECTNET_BORDER = 2
"""Pixels that are cut from each side of an image of ObjectNet, as its authors do: the outermost
are red."""


@dataclass(frozen=True)
class SynsetFolderReader(SplitReader):
    """`<folder>/<synset>/...`, one folder for each class, named by its WordNet id.

    ImageNet-A and -O (Hendrycks et al. 2021), ImageNet-R (Hendrycks et al. 2021), ImageNet-Sketch
    (Wang et al. 2019). Classes are in the order of ImageNet.
    """

    folder: str
    """Folder of the data set under the data root."""
    class_subset: str | None = None
    """Name of the list of classes in `data/imagenet_subsets.json`; None: all of ImageNet's."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        classes = list_imagenet_classes(self.class_subset)
        _require_folders(dataset, root / self.folder, classes)
        return _build_dataset(dataset, split, root / self.folder, classes, classes)


@dataclass(frozen=True)
class ImagenetV2Reader(SplitReader):
    """`<folder>/<index>/...`: ImageNet-v2 (Recht et al. 2019); 0 to 999 count ImageNet's classes.

    Sorted as text, 10 comes before 2: a reader of folders by name gives most images a wrong label.
    """

    folder: str
    """Folder of the data set under the data root."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        classes = list_imagenet_classes()
        folders = [str(i) for i in range(len(classes))]
        _require_folders(dataset, root / self.folder, folders)
        return _build_dataset(dataset, split, root / self.folder, folders, classes)


@dataclass(frozen=True)
class ObjectnetReader(SplitReader):
    """ObjectNet (Barbu et al. 2019): the 113 of its 313 classes that are classes of ImageNet.

    A class is named as ObjectNet names it, in lower case. The border of an image is cut off.
    """

    folder: str
    """Folder of the data set under the data root."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        mappings = root / self.folder / "mappings"
        names = read_json(mappings / "folder_to_objectnet_label.json")
        overlapping = set(read_json(mappings / "objectnet_to_imagenet_1k.json"))
        folders = sorted(folder for folder, name in names.items() if name in overlapping)
        images = root / self.folder / "images"
        missing = sorted(set(folders) - set(list_folders(images)))
        if missing:
            raise UserError(f"{dataset.name}: {images} lacks the class {missing[0]}")
        classes = [names[folder].lower() for folder in folders]
        return _build_dataset(
            dataset, split, images, folders, classes, reader_class=BorderlessFileReader
        )


@dataclass(frozen=True)
class BorderlessFileReader(FileReader):
    """Images of ObjectNet without their border."""

    def __call__(self, i: int) -> Image.Image:
        """Return image `i`."""
        image = super().__call__(i)
        width, height = image.size
        border = OBJECTNET_BORDER
        return image.crop((border, border, width - border, height - border))


@cache
def list_imagenet_classes(subset: str | None = None) -> tuple[str, ...]:
    """Return the WordNet ids of ImageNet's classes, or of a subset, in the order of ImageNet."""
    if subset is None:
        return tuple(prompts.get_class_name_entry("imagenet")["names"])
    path = prompts.DATA_FOLDER / "imagenet_subsets.json"
    names: str = read_json(path)["classes"][subset]
    return tuple(names.split())


def _build_dataset(
    dataset: Dataset,
    split: SplitName,
    folder: Path,
    class_folders: Sequence[str],
    classes: Sequence[str],
    reader_class: type[FileReader] = FileReader,
) -> ImageDataset:
    files = [
        (f"{name}/{file_name}", f"{folder / name}/{file_name}", label)
        for label, name in enumerate(class_folders)
        for file_name in list_images(folder / name)
    ]
    return build_classification_dataset(dataset, split, files, classes, reader_class)


def _require_folders(dataset: Dataset, folder: Path, names: Sequence[str]) -> None:
    """Raise `UserError` unless a folder has the folders of these classes and of no others."""
    present_names = set(list_folders(folder))
    missing, unknown = sorted(set(names) - present_names), sorted(present_names - set(names))
    if missing:
        raise UserError(
            f"{dataset.name}: {folder} lacks {len(missing)} of {len(names)} classes, such as "
            f"{missing[0]}; {dataset.download_hint}"
        )
    if unknown:
        raise UserError(f"{dataset.name}: {folder} has a folder that is no class: {unknown[0]}")
