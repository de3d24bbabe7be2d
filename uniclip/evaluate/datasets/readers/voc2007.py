"""PASCAL VOC 2007 (Everingham et al.): twenty labels an image, objects marked difficult excluded.

The official classification lists state for each class and image 1 (present), -1 (absent) or 0 (only
difficult objects, which the devkit excludes from the precision). Where the lists are missing, the
same is derived from the objects in the annotations.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader
from uniclip.evaluate.datasets.images import FileReader, ImageDataset
from uniclip.evaluate.datasets.readers.caption_choices import Box, BoxReader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from uniclip.data.split import SplitName

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""The devkit's names, in its (alphabetical) order."""
SPLIT_NAMES = {"train": "train", "validation": "val", "test": "test"}


class Voc2007Reader(SplitReader):
    """labels (n, 20): 1 where an object of the class is present, difficult or not; difficult (n,
    20): True where there are difficult objects only."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        import numpy as np

        folder = root / "VOCdevkit/VOC2007"
        list_folder = folder / "ImageSets/Main"
        names = [row.split()[0] for row in _read_lines(list_folder / f"{SPLIT_NAMES[split]}.txt")]
        if all((list_folder / f"{c}_{SPLIT_NAMES[split]}.txt").is_file() for c in CLASSES):
            truth = _read_lists(list_folder, SPLIT_NAMES[split], names)
        else:
            truth = read_annotations(folder / "Annotations", names)
        return ImageDataset(
            name=dataset.name,
            split=split,
            kind=dataset.kind,
            metric=dataset.metric,
            ids=tuple(names),
            reader=FileReader(tuple(folder / f"JPEGImages/{name}.jpg" for name in names)),
            labels=(truth >= 0).astype(np.int64),
            difficult=truth == 0,
            classes=CLASSES,
        )


class Voc2007BoxesReader(SplitReader):
    """Each object, difficult or not, cut out of its image, with one label.

    As `PASCALVoc2007Cropped` of CLIP_benchmark 1.6 (`datasets/voc2007.py`), whose copy DataComp
    scores.
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        import numpy as np

        folder = root / "VOCdevkit/VOC2007"
        names = _read_lines(folder / f"ImageSets/Main/{SPLIT_NAMES[split]}.txt")
        ids, paths, boxes, labels = [], [], [], []
        for name in names:
            root_element = ElementTree.parse(folder / f"Annotations/{name}.xml")
            for number, element in enumerate(root_element.iter("object")):
                ids.append(f"{name}/{number}")
                paths.append(folder / f"JPEGImages/{name}.jpg")
                boxes.append(_read_box(element))
                labels.append(CLASSES.index(str(element.findtext("name")).strip()))
        if not ids:
            raise UserError(f"{dataset.name} lists no {split} images; {dataset.download_hint}")
        return ImageDataset(
            name=dataset.name,
            split=split,
            kind=dataset.kind,
            metric=dataset.metric,
            ids=tuple(ids),
            reader=BoxReader(tuple(paths), tuple(boxes)),
            labels=np.array(labels, np.int64),
            classes=CLASSES,
        )


def _read_box(element: ElementTree.Element) -> Box:
    """Return left, upper, right and lower of an object."""
    left, upper, right, lower = (
        int(str(element.findtext(f"bndbox/{side}"))) for side in ("xmin", "ymin", "xmax", "ymax")
    )
    return left, upper, right, lower


def _read_lists(list_folder: Path, split: str, names: Sequence[str]) -> NDArray[np.int64]:
    """Return (n, 20) of 1, 0 or -1."""
    import numpy as np

    columns = []
    for c in CLASSES:
        path = list_folder / f"{c}_{split}.txt"
        value_of_name = {name: int(value) for name, value in map(str.split, _read_lines(path))}
        if set(value_of_name) != set(names) or not set(value_of_name.values()) <= {-1, 0, 1}:
            raise UserError(
                f"{path} does not list the images of {split}.txt; download the data set again"
            )
        columns.append([value_of_name[name] for name in names])
    return np.array(columns, np.int64).T.reshape(len(names), len(CLASSES))


def read_annotations(folder: Path, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the same (n, 20) from the objects in each image's XML file."""
    import numpy as np

    truth = np.full((len(names), len(CLASSES)), -1, np.int64)
    for row, name in enumerate(names):
        for object_element in ElementTree.parse(folder / f"{name}.xml").iter("object"):
            column = CLASSES.index(str(object_element.findtext("name")).strip())
            is_easy = int(object_element.findtext("difficult") or 0) == 0
            truth[row, column] = max(truth[row, column], int(is_easy))
    return truth


def _read_lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="ascii").splitlines() if line.strip()]
