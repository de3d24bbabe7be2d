"""Sets whose publishers list the pictures of each part, read by torchvision where it is right.

torchvision is right about Food-101, Stanford Cars and FGVC Aircraft. Of DTD it takes the classes
from the part at hand, and so it does of the Pets, by position: here they are bound to the texture's
folder and to the label of the list.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from uniclip.data.split import Part
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import Pictures, classified

SHORT = {"train": "train", "validation": "val", "test": "test"}


def food101(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """Food-101 (Bossard et al. 2014); classes are folder names such as "apple_pie"."""
    from torchvision.datasets import Food101

    return _of_torchvision(dataset, part, Food101(root, split=part), root / "food-101/images")


def food101_files(root: Path, part: Part) -> list[str]:
    """The pictures in a list of Food-101."""
    listed = json.loads((root / f"food-101/meta/{part}.json").read_text(encoding="utf-8"))
    return [f"{root}/food-101/images/{name}.jpg" for names in listed.values() for name in names]


def stanford_cars(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """Stanford Cars (Krause et al. 2013); classes are names such as "AM General Hummer SUV 2000".

    The labels of the files count from 1.
    """
    from torchvision.datasets import StanfordCars

    return _of_torchvision(dataset, part, StanfordCars(root, split=part), root / "stanford_cars")


def stanford_cars_files(root: Path, part: Part) -> list[str]:
    """The pictures in the annotations of a part."""
    from scipy.io import loadmat

    name = "cars_test_annos_withlabels" if part == "test" else "devkit/cars_train_annos"
    annotations = loadmat(str(root / f"stanford_cars/{name}.mat"), squeeze_me=True)["annotations"]
    return [f"{root}/stanford_cars/cars_{part}/{name}" for name in annotations["fname"].ravel()]


def fgvc_aircraft(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """FGVC Aircraft (Maji et al. 2013), by variant; names hold spaces and slashes."""
    from torchvision.datasets import FGVCAircraft

    opened = FGVCAircraft(root, split=SHORT[part], annotation_level="variant")
    return _of_torchvision(dataset, part, opened, root / "fgvc-aircraft-2013b/data/images")


def fgvc_aircraft_files(root: Path, part: Part) -> list[str]:
    """The pictures in the list of a part; lines read "0034309 A300B4"."""
    folder = root / "fgvc-aircraft-2013b/data"
    lines = _lines(folder / f"images_variant_{SHORT[part]}.txt")
    return [f"{folder}/images/{line.split()[0]}.jpg" for line in lines]


def dtd(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """Describable Textures (Cimpoi et al. 2014), partition 1; classes are folder names."""
    from torchvision.datasets import DTD

    images = root / "dtd/dtd/images"
    opened = DTD(root, split=SHORT[part], partition=1)
    folders = sorted(p.name for p in images.iterdir() if p.is_dir())
    opened._labels = [folders.index(opened.classes[label]) for label in opened._labels]
    opened.classes = folders
    return _of_torchvision(dataset, part, opened, images)


def dtd_files(root: Path, part: Part) -> list[str]:
    """The pictures in the list of a part."""
    lines = _lines(root / f"dtd/dtd/labels/{SHORT[part]}1.txt")
    return [f"{root}/dtd/dtd/images/{line.strip()}" for line in lines]


def oxford_pets(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """Oxford-IIIT Pets (Parkhi et al. 2012); classes are breeds such as "american_bulldog".

    Lines read "american_bulldog_100 2 2 1": the label counts from 1 and is bound to the breed by
    both lists together, so a part without a breed moves no other.
    """
    folder = root / "oxford-iiit-pet"
    rows = {p: _pets(folder / f"annotations/{p}.txt") for p in ("trainval", "test")}
    breeds = {label: name.rsplit("_", 1)[0] for both in rows.values() for name, label in both}
    labels = {label: i for i, label in enumerate(sorted(breeds))}
    files = [
        (name, folder / f"images/{name}.jpg", labels[label])
        for name, label in rows["trainval" if part == "train" else "test"]
    ]
    return classified(dataset, part, files, [breeds[label] for label in sorted(breeds)])


def _pets(path: Path) -> list[tuple[str, int]]:
    """(Name, label from 1) of each picture in a list; comments start with "#"."""
    fields = [line.split() for line in _lines(path) if not line.startswith("#")]
    return [(name, int(label)) for name, label, *_ in fields]


def _of_torchvision(dataset: Dataset, part: Part, opened: Any, folder: Path) -> Pictures:
    """The pictures that a torchvision data set lists; their files are not part of its interface."""
    files = getattr(opened, "_samples", None)
    files = files if files is not None else list(zip(opened._image_files, opened._labels))
    listed = [
        (Path(path).relative_to(folder).with_suffix("").as_posix(), Path(path), int(label))
        for path, label in files
    ]
    return classified(dataset, part, listed, opened.classes)


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
