"""Sets whose publishers list the pictures of each part, read by torchvision where it is right.

torchvision is right about Food-101, Stanford Cars and FGVC Aircraft. Of DTD it takes the classes
from the part at hand, and so it does of the Pets, by position: here they are bound to the texture's
folder and to the label of the list.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from uniclip.data.split import SplitName
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import ImageDataset, build_classification_dataset

SPLIT_NAMES = {"train": "train", "validation": "val", "test": "test"}


def food101(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """Food-101 (Bossard et al. 2014); classes are folder names such as "apple_pie"."""
    from torchvision.datasets import Food101

    return _from_torchvision(dataset, split, Food101(root, split=split), root / "food-101/images")


def list_food101_files(root: Path, split: SplitName) -> list[str]:
    """The pictures in a list of Food-101."""
    names_by_class = json.loads((root / f"food-101/meta/{split}.json").read_text(encoding="utf-8"))
    return [
        f"{root}/food-101/images/{name}.jpg" for names in names_by_class.values() for name in names
    ]


def stanford_cars(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """Stanford Cars (Krause et al. 2013); classes are names such as "AM General Hummer SUV 2000".

    The labels of the files count from 1.
    """
    from torchvision.datasets import StanfordCars

    return _from_torchvision(
        dataset, split, StanfordCars(root, split=split), root / "stanford_cars"
    )


def list_stanford_cars_files(root: Path, split: SplitName) -> list[str]:
    """The pictures in the annotations of a part."""
    from scipy.io import loadmat

    name = "cars_test_annos_withlabels" if split == "test" else "devkit/cars_train_annos"
    annotations = loadmat(str(root / f"stanford_cars/{name}.mat"), squeeze_me=True)["annotations"]
    return [f"{root}/stanford_cars/cars_{split}/{name}" for name in annotations["fname"].ravel()]


def fgvc_aircraft(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """FGVC Aircraft (Maji et al. 2013), by variant; names hold spaces and slashes."""
    from torchvision.datasets import FGVCAircraft

    torchvision_dataset = FGVCAircraft(root, split=SPLIT_NAMES[split], annotation_level="variant")
    return _from_torchvision(
        dataset, split, torchvision_dataset, root / "fgvc-aircraft-2013b/data/images"
    )


def list_fgvc_aircraft_files(root: Path, split: SplitName) -> list[str]:
    """The pictures in the list of a part; lines read "0034309 A300B4"."""
    folder = root / "fgvc-aircraft-2013b/data"
    lines = _read_lines(folder / f"images_variant_{SPLIT_NAMES[split]}.txt")
    return [f"{folder}/images/{line.split()[0]}.jpg" for line in lines]


def dtd(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """Describable Textures (Cimpoi et al. 2014), partition 1; classes are folder names."""
    from torchvision.datasets import DTD

    images = root / "dtd/dtd/images"
    torchvision_dataset = DTD(root, split=SPLIT_NAMES[split], partition=1)
    folders = sorted(p.name for p in images.iterdir() if p.is_dir())
    torchvision_dataset._labels = [
        folders.index(torchvision_dataset.classes[label]) for label in torchvision_dataset._labels
    ]
    torchvision_dataset.classes = folders
    return _from_torchvision(dataset, split, torchvision_dataset, images)


def list_dtd_files(root: Path, split: SplitName) -> list[str]:
    """The pictures in the list of a part."""
    lines = _read_lines(root / f"dtd/dtd/labels/{SPLIT_NAMES[split]}1.txt")
    return [f"{root}/dtd/dtd/images/{line.strip()}" for line in lines]


def oxford_pets(dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
    """Oxford-IIIT Pets (Parkhi et al. 2012); classes are breeds such as "american_bulldog".

    Lines read "american_bulldog_100 2 2 1": the label counts from 1 and is bound to the breed by
    both lists together, so a part without a breed moves no other.
    """
    folder = root / "oxford-iiit-pet"
    rows = {p: _read_pets_list(folder / f"annotations/{p}.txt") for p in ("trainval", "test")}
    breeds = {
        label: name.rsplit("_", 1)[0] for list_rows in rows.values() for name, label in list_rows
    }
    labels = {label: i for i, label in enumerate(sorted(breeds))}
    files = [
        (name, folder / f"images/{name}.jpg", labels[label])
        for name, label in rows["trainval" if split == "train" else "test"]
    ]
    return build_classification_dataset(
        dataset, split, files, [breeds[label] for label in sorted(breeds)]
    )


def _read_pets_list(path: Path) -> list[tuple[str, int]]:
    """(Name, label from 1) of each picture in a list; comments start with "#"."""
    fields = [line.split() for line in _read_lines(path) if not line.startswith("#")]
    return [(name, int(label)) for name, label, *_ in fields]


def _from_torchvision(
    dataset: Dataset, split: SplitName, torchvision_dataset: Any, folder: Path
) -> ImageDataset:
    """The pictures that a torchvision data set lists; their files are not part of its interface."""
    files = getattr(torchvision_dataset, "_samples", None)
    files = (
        files
        if files is not None
        else list(zip(torchvision_dataset._image_files, torchvision_dataset._labels))
    )
    entries = [
        (Path(path).relative_to(folder).with_suffix("").as_posix(), Path(path), int(label))
        for path, label in files
    ]
    return build_classification_dataset(dataset, split, entries, torchvision_dataset.classes)


def _read_lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
