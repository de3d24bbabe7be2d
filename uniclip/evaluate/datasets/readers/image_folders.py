"""Sets with one folder a class: its name is the class's key, whatever else lies there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from uniclip.data.split import Part
from uniclip.errors import UserError
from uniclip.evaluate.datasets import holdout
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.images import Pictures, classified

SUFFIXES = {
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"),
    *(".ppm", ".pgm", ".tif", ".tiff"),
}
SYNSET = re.compile(r"n\d{8}")
CALTECH_TRAIN = 30
EUROSAT_TRAIN, EUROSAT_TEST = 1000, 500


def imagenet(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """ImageNet-1k (ILSVRC 2012); classes are WordNet ids in their order, "n01440764" first.

    The test part is the official validation set.
    """
    names = [n for n in _folders(root / "imagenet/val") if SYNSET.fullmatch(n)]
    if not names:
        raise UserError(
            f"{root / 'imagenet/val'} has no synset folders such as n01440764: sort its pictures"
        )
    folder = root / "imagenet" / ("val" if part == "test" else "train")
    return _of_classes(dataset, part, folder, names)


def caltech101(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """Caltech-101 (Fei-Fei et al. 2004), all 102 folders, BACKGROUND_Google too, as CLIP has it.

    There is no official list: 30 pictures of each class to train, by a hash of their names, and the
    rest (3,060 and 6,084) to test. torchvision drops the background and knows no parts.
    """
    folder = root / "caltech101/101_ObjectCategories"
    everything = _of_classes(dataset, part, folder, _folders(folder))
    place, _ = holdout.ranks(everything)
    chosen = place < CALTECH_TRAIN if part == "train" else place >= CALTECH_TRAIN
    return everything.take(np.flatnonzero(chosen), part)


def eurosat(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """EuroSAT (Helber et al. 2019), RGB.

    CLIP's 10,000 and 5,000 pictures are listed nowhere public: the same numbers, 1,000 and 500 of
    each class, by a hash of their names (a third to test where a class has fewer than 1,500).
    """
    folder = root / "eurosat/2750"
    everything = _of_classes(dataset, part, folder, _folders(folder))
    place, size = holdout.ranks(everything)
    test = np.minimum(EUROSAT_TEST, size // 3)
    trained = (place >= test) & (place < test + EUROSAT_TRAIN)
    return everything.take(np.flatnonzero(place < test if part == "test" else trained), part)


def whole(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """Every picture of a set of folders, as CLIP_benchmark tests Caltech-101 and EuroSAT."""
    (name,) = dataset.files[part]
    return _of_classes(dataset, part, root / name, _folders(root / name))


def country211(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """Country211 (Radford et al. 2021); classes are ISO 3166 codes."""
    folder = root / "country211"
    own = "valid" if part == "validation" else part
    return _of_classes(dataset, part, folder / own, _folders(folder / "test"))


def rendered_sst2(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """Rendered SST2 (Radford et al. 2021): sentences as pictures, "negative" or "positive"."""
    folder = root / "rendered-sst2"
    own = "valid" if part == "validation" else part
    return _of_classes(dataset, part, folder / own, _folders(folder / "test"))


def own_folder(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """Anybody's folders: `<part>/<class>/...`, or `<class>/...` alone, all of it for the test."""
    (name,) = dataset.files[part]
    (tested,) = dataset.files["test"]
    return _of_classes(dataset, part, root / name, _folders(root / tested))


def _of_classes(dataset: Dataset, part: Part, folder: Path, classes: list[str]) -> Pictures:
    """The pictures beneath each class's folder, in order of name; hidden files are passed over."""
    strange = sorted(set(_folders(folder)) - set(classes))
    if strange and dataset.name != "imagenet":
        raise UserError(
            f"{folder} has a class that the test part lacks: {strange[0]}; give every part the same"
        )
    files = [
        (f"{name}/{picture}", f"{folder / name}/{picture}", label)
        for label, name in enumerate(classes)
        for picture in _pictures(folder / name)
    ]
    return classified(dataset, part, files, classes)


def _pictures(folder: Path) -> list[str]:
    """Names beneath `folder`, sorted. (Text, not paths: ImageNet has more than a million.)"""
    found: list[str] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".")]
        within = os.path.relpath(place, folder)
        prefix = "" if within == "." else f"{within}/"
        found += [
            prefix + n for n in names if n[:1] != "." and n[n.rfind(".") :].lower() in SUFFIXES
        ]
    return sorted(found)


def _folders(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
