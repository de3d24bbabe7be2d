"""Images with one long caption each: DOCCI, IIW-400, DCI, Urban-1k."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader
from uniclip.evaluate.datasets.images import FileReader, ImageDataset

if TYPE_CHECKING:
    from uniclip.data.split import SplitName

DOCCI_SPLITS = {"train": "train", "test": "test"}
"""Our split -> the field `split` of a record; qual_dev and qual_test are in none."""


class DocciReader(SplitReader):
    """DOCCI (Onoe et al., ECCV 2024): `docci_descriptions.jsonlines` beside `images/`."""

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        folder = root / "docci"
        rows = [
            (record["example_id"], folder / "images" / record["image_file"], record["description"])
            for record in _read_json_lines(folder / "docci_descriptions.jsonlines")
            if record["split"] == DOCCI_SPLITS[split]
        ]
        return _build_dataset(dataset, split, rows)


class IiwReader(SplitReader):
    """IIW-400 (Garg et al., EMNLP 2024): `data.jsonl`; the images are of DOCCI's AAR part.

    The fields are those of `datasets/IIW-400/README.md` of github.com/google/imageinwords: the key
    of an image is DOCCI's id of it. DOCCI's loading script (`docci.py` of
    huggingface.co/datasets/google/docci) has the id in the name of the file,
    `images_aar/<id>.jpg`.
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        rows = [
            (record["image/key"], root / f"docci/images_aar/{record['image/key']}.jpg", text)
            for record in _read_json_lines(root / "iiw-400/data.jsonl")
            if (text := record.get("IIW"))
        ]
        return _build_dataset(dataset, split, rows)


class DciReader(SplitReader):
    """DCI (Urbanek et al., CVPR 2024): a file of annotations for each image, and `photos/`.

    The caption is `short_caption` and `extra_caption`, as `get_extended_caption` in
    `dense_image.py` of github.com/facebookresearch/DCI joins them. All 7,805 images of the
    authors' three splits are tested, as LoTLIP (github.com/wuw2019/LoTLIP,
    `dataloaders/dci_retrieval.py`) and FLAIR (github.com/ExplainableML/flair, `src/flair/data.py`)
    do; both also put a full stop and a space between sentences.
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        folder = root / "densely_captioned_images"
        rows = []
        for path in sorted((folder / "annotations").glob("*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            caption = f"{record['short_caption']}\n{record['extra_caption']}"
            rows.append((path.stem, folder / "photos" / record["image"], caption))
        return _build_dataset(dataset, split, rows)


class Urban1kReader(SplitReader):
    """Urban-1k (Zhang et al., "Long-CLIP", ECCV 2024): `caption/<name>.txt`, `image/<name>.jpg`.

    The caption is the first line of the file, as in the authors' code.
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        folder = root / "Urban1k"
        rows = []
        for path in sorted((folder / "caption").glob("*.txt")):
            caption = path.read_text(encoding="utf-8").split("\n")[0]
            rows.append((path.stem, folder / "image" / f"{path.stem}.jpg", caption))
        return _build_dataset(dataset, split, rows)


def _build_dataset(
    dataset: Dataset, split: SplitName, rows: Sequence[tuple[str, Path, str]]
) -> ImageDataset:
    """Build a split from (id, image, caption) of each image."""
    if not rows:
        raise UserError(f"{dataset.name} lists no {split} images; {dataset.download_hint}")
    return ImageDataset(
        name=dataset.name,
        split=split,
        kind=dataset.kind,
        metric=dataset.metric,
        ids=tuple(image_id for image_id, _, _ in rows),
        reader=FileReader(tuple(path for _, path, _ in rows)),
        captions=tuple((caption.strip(),) for _, _, caption in rows),
    )


def _read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as stream:
        yield from (json.loads(line) for line in stream if line.strip())
