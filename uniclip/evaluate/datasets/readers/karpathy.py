"""Flickr30k and MS-COCO in the parts of Karpathy and Li (CVPR 2015), with all captions.

Two forms of the same lists are read: Karpathy's own `dataset_<name>.json`, and the files of one
part that clip-benchmark uses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from uniclip.data.split import Part
from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset, locate
from uniclip.evaluate.datasets.images import Files, Pictures

OWN = {"train": ("train", "restval"), "validation": ("val",), "test": ("test",)}
"""Karpathy's `restval` is trained on."""
Captioned = dict[str, list[str]]


def flickr30k(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """Flickr30k (Young et al. 2014): 1,000 pictures to test, five captions each."""
    path = locate(root, dataset.files[part][0])
    listed = _own(path, part) if path.suffix == ".json" else _lines(path)
    places = [root / "flickr30k" / f for f in ("", "flickr30k-images", "Images", "images")]
    return _pictures(dataset, part, listed, places)


def coco(dataset: Dataset, root: Path, part: Part) -> Pictures:
    """MS-COCO (Lin et al. 2014): 5,000 pictures to test, 25,010 captions."""
    path = locate(root, dataset.files[part][0])
    listed = _own(path, part) if path.name == "dataset_coco.json" else _coco_form(path)
    return _pictures(dataset, part, listed, [root / "coco"])


def _lines(path: Path) -> Captioned:
    """A header, then "name.jpg,caption" each; captions hold commas, and quotes that mean nothing.

    Captions of one picture need not stand together.
    """
    listed: Captioned = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[1:], 2):
        if not line.strip():
            continue
        name, found, caption = line.partition(".jpg,")
        if not found or not caption.strip():
            raise UserError(f"{path} line {number}: expected <name>.jpg,<caption>")
        listed.setdefault(f"{name.strip()}.jpg", []).append(caption.strip())
    return listed


def _coco_form(path: Path) -> Captioned:
    """{"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}."""
    found = json.loads(path.read_text(encoding="utf-8"))
    names = {image["id"]: _placed(str(image["file_name"])) for image in found["images"]}
    listed: Captioned = {name: [] for name in names.values()}
    for annotation in found["annotations"]:
        listed[names[annotation["image_id"]]].append(str(annotation["caption"]).strip())
    return listed


def _placed(name: str) -> str:
    """Within its folder, which its name says: "COCO_val2014_000000391895.jpg"."""
    return f"{name.split('_')[1]}/{name}" if name.startswith("COCO_") else name


def _own(path: Path, part: Part) -> Captioned:
    """{"images": [{"filename", "filepath" (COCO), "split", "sentences": [{"raw"}]}]}."""
    images: Iterable[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["images"]
    return {
        "/".join(filter(None, (image.get("filepath"), image["filename"]))): [
            str(sentence["raw"]).strip() for sentence in image["sentences"]
        ]
        for image in images
        if image["split"] in OWN[part]
    }


def _pictures(dataset: Dataset, part: Part, listed: Captioned, places: list[Path]) -> Pictures:
    bare = next((name for name, captions in listed.items() if not captions), None)
    if bare is not None or not listed:
        raise UserError(f"{dataset.name}: {bare or 'the list'} of {part} is empty; {dataset.how}")
    first = next(iter(listed))
    folder = next((p for p in places if (p / first).is_file()), None)
    if folder is None:
        where = " or ".join(str(p) for p in places)
        raise UserError(f"{dataset.name}: there is no picture {first} in {where}; {dataset.how}")
    return Pictures(
        name=dataset.name,
        part=part,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(listed),
        read=Files(tuple(folder / name for name in listed)),
        captions=tuple(map(tuple, listed.values())),
    )
