"""Data sets whose publishers list the images of each split, read by torchvision where it is right.

torchvision reads Food-101, Stanford Cars and FGVC Aircraft correctly. It takes the classes of DTD
from the split at hand, and those of Oxford-IIIT Pets by position: here they are bound to the
texture's folder and to the label in the list.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.evaluate.datasets.dataset import Dataset, SplitReader
from uniclip.evaluate.datasets.images import ImageDataset, build_classification_dataset

if TYPE_CHECKING:
    from uniclip.data.split import SplitName

SPLIT_NAMES = {"train": "train", "validation": "val", "test": "test"}
FOOD101_IMAGES, DTD_IMAGES = "food-101/images", "dtd/dtd/images"
AIRCRAFT_FOLDER, PETS_FOLDER = "fgvc-aircraft-2013b/data", "oxford-iiit-pet"


class Food101Reader(SplitReader):
    """Food-101 (Bossard et al. 2014); classes are folder names such as "apple_pie"."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        from torchvision.datasets import Food101

        opened = Food101(root, split=split)
        files = list(zip(opened._image_files, opened._labels))
        return _build_from_files(dataset, split, files, opened.classes, root / FOOD101_IMAGES)

    def list_files(self, root: Path, split: SplitName) -> list[str]:
        text = (root / f"food-101/meta/{split}.json").read_text(encoding="utf-8")
        return [f"{root}/{FOOD101_IMAGES}/{n}.jpg" for ns in json.loads(text).values() for n in ns]


class StanfordCarsReader(SplitReader):
    """Stanford Cars (Krause et al. 2013); classes are names such as "AM General Hummer SUV 2000".

    The labels in the files count from 1.
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        from torchvision.datasets import StanfordCars

        opened = StanfordCars(root, split=split)
        return _build_from_files(
            dataset, split, opened._samples, opened.classes, root / "stanford_cars"
        )

    def list_files(self, root: Path, split: SplitName) -> list[str]:
        from scipy.io import loadmat

        name = "cars_test_annos_withlabels" if split == "test" else "devkit/cars_train_annos"
        annotations = loadmat(str(root / f"stanford_cars/{name}.mat"), squeeze_me=True)
        names = annotations["annotations"]["fname"].ravel()
        return [f"{root}/stanford_cars/cars_{split}/{name}" for name in names]


class FgvcAircraftReader(SplitReader):
    """FGVC Aircraft (Maji et al. 2013) by variant; class names contain spaces and slashes."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        from torchvision.datasets import FGVCAircraft

        opened = FGVCAircraft(root, split=SPLIT_NAMES[split], annotation_level="variant")
        files = list(zip(opened._image_files, opened._labels))
        folder = root / AIRCRAFT_FOLDER / "images"
        return _build_from_files(dataset, split, files, opened.classes, folder)

    def list_files(self, root: Path, split: SplitName) -> list[str]:
        """Lines of the list read "0034309 A300B4"."""
        folder = root / AIRCRAFT_FOLDER
        lines = _read_lines(folder / f"images_variant_{SPLIT_NAMES[split]}.txt")
        return [f"{folder}/images/{line.split()[0]}.jpg" for line in lines]


class DtdReader(SplitReader):
    """Describable Textures (Cimpoi et al. 2014), partition 1; classes are folder names."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        from torchvision.datasets import DTD

        image_folder = root / DTD_IMAGES
        opened = DTD(root, split=SPLIT_NAMES[split], partition=1)
        classes = sorted(p.name for p in image_folder.iterdir() if p.is_dir())
        labels = [classes.index(opened.classes[label]) for label in opened._labels]
        files = list(zip(opened._image_files, labels))
        return _build_from_files(dataset, split, files, classes, image_folder)

    def list_files(self, root: Path, split: SplitName) -> list[str]:
        lines = _read_lines(root / f"dtd/dtd/labels/{SPLIT_NAMES[split]}1.txt")
        return [f"{root}/{DTD_IMAGES}/{line.strip()}" for line in lines]


class OxfordPetsReader(SplitReader):
    """Oxford-IIIT Pets (Parkhi et al. 2012); classes are breeds such as "american_bulldog".

    Lines read "american_bulldog_100 2 2 1": the label counts from 1 and is bound to the breed by
    both lists together, so a split without a breed shifts no other.
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        folder = root / PETS_FOLDER
        rows = {p: _read_pets_list(folder / f"annotations/{p}.txt") for p in ("trainval", "test")}
        breeds = {label: n.rsplit("_", 1)[0] for listed in rows.values() for n, label in listed}
        labels = {label: i for i, label in enumerate(sorted(breeds))}
        files = [
            (name, folder / f"images/{name}.jpg", labels[label])
            for name, label in rows["trainval" if split == "train" else "test"]
        ]
        classes = [breeds[label] for label in sorted(breeds)]
        return build_classification_dataset(dataset, split, files, classes)


def _read_pets_list(path: Path) -> list[tuple[str, int]]:
    """Return (name, label from 1) of each image in a list; comments start with "#"."""
    fields = [line.split() for line in _read_lines(path) if not line.startswith("#")]
    return [(name, int(label)) for name, label, *_ in fields]


def _build_from_files(
    dataset: Dataset,
    split: SplitName,
    files: Sequence[tuple[str | Path, int]],
    classes: Sequence[str],
    folder: Path,
) -> ImageDataset:
    """Build a split from the (file, label) pairs of a torchvision data set.

    Ids are paths below `folder`, without suffix.
    """
    entries = [
        (Path(path).relative_to(folder).with_suffix("").as_posix(), Path(path), int(label))
        for path, label in files
    ]
    return build_classification_dataset(dataset, split, entries, classes)


def _read_lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
