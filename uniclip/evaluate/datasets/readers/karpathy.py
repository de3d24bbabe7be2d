"""Flickr30k and MS-COCO in the splits of Karpathy and Li (CVPR 2015), with all captions.

Two formats of the same lists are read: Karpathy's `dataset_<name>.json`, and the files of one
split that clip-benchmark uses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader, locate
from uniclip.evaluate.datasets.images import FileReader, ImageDataset

if TYPE_CHECKING:
    from uniclip.data.split import SplitName

KARPATHY_SPLITS = {"train": ("train", "restval"), "validation": ("val",), "test": ("test",)}
"""Karpathy's `restval` belongs to the training split."""

CaptionsByFile = dict[str, list[str]]


class Flickr30kReader(SplitReader):
    """Flickr30k (Young et al. 2014): 1,000 test images, five captions each."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        path = locate(root, dataset.files[split][0])
        is_json = path.suffix == ".json"
        captions_by_file = (
            _read_karpathy_json(path, split) if is_json else _read_caption_lines(path)
        )
        folders = [root / "flickr30k" / f for f in ("", "flickr30k-images", "Images", "images")]
        return _build_dataset(dataset, split, captions_by_file, folders)


class CocoReader(SplitReader):
    """MS-COCO (Lin et al. 2014): 5,000 test images, 25,010 captions."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        path = locate(root, dataset.files[split][0])
        is_karpathy = path.name == "dataset_coco.json"
        captions_by_file = (
            _read_karpathy_json(path, split) if is_karpathy else _read_coco_json(path)
        )
        return _build_dataset(dataset, split, captions_by_file, [root / "coco"])


def _read_caption_lines(path: Path) -> CaptionsByFile:
    """Read a header, then "name.jpg,caption" lines; commas and quotes in captions are literal.

    Captions of one image need not be adjacent.
    """
    captions_by_file: CaptionsByFile = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[1:], 2):
        if not line.strip():
            continue
        name, separator, caption = line.partition(".jpg,")
        if not separator or not caption.strip():
            raise UserError(f"{path} line {number}: expected <name>.jpg,<caption>")
        captions_by_file.setdefault(f"{name.strip()}.jpg", []).append(caption.strip())
    return captions_by_file


def _read_coco_json(path: Path) -> CaptionsByFile:
    """Read {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}."""
    content = json.loads(path.read_text(encoding="utf-8"))
    names = {image["id"]: _path_in_folder(str(image["file_name"])) for image in content["images"]}
    captions_by_file: CaptionsByFile = {name: [] for name in names.values()}
    for annotation in content["annotations"]:
        captions_by_file[names[annotation["image_id"]]].append(str(annotation["caption"]).strip())
    return captions_by_file


def _path_in_folder(name: str) -> str:
    """Return the path with the folder that the name contains: "COCO_val2014_000000391895.jpg"."""
    return f"{name.split('_')[1]}/{name}" if name.startswith("COCO_") else name


def _read_karpathy_json(path: Path, split: SplitName) -> CaptionsByFile:
    """Read {"images": [{"filename", "filepath" (COCO), "split", "sentences": [{"raw"}]}]}."""
    images: Iterable[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["images"]
    return {
        "/".join(filter(None, (image.get("filepath"), image["filename"]))): [
            str(sentence["raw"]).strip() for sentence in image["sentences"]
        ]
        for image in images
        if image["split"] in KARPATHY_SPLITS[split]
    }


def _build_dataset(
    dataset: Dataset, split: SplitName, captions_by_file: CaptionsByFile, image_folders: list[Path]
) -> ImageDataset:
    name_without_caption = next(
        (name for name, captions in captions_by_file.items() if not captions), None
    )
    if name_without_caption is not None or not captions_by_file:
        raise UserError(
            f"{dataset.name}: {name_without_caption or 'the list'} of {split} is empty; "
            f"{dataset.download_hint}"
        )
    first_name = next(iter(captions_by_file))
    folder = next((p for p in image_folders if (p / first_name).is_file()), None)
    if folder is None:
        searched_folders = " or ".join(str(p) for p in image_folders)
        raise UserError(
            f"{dataset.name}: there is no image {first_name} in {searched_folders}; "
            f"{dataset.download_hint}"
        )
    return ImageDataset(
        name=dataset.name,
        split=split,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(captions_by_file),
        reader=FileReader(tuple(folder / name for name in captions_by_file)),
        captions=tuple(map(tuple, captions_by_file.values())),
    )
