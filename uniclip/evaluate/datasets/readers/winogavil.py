"""WinoGAViL: words, and the images among several that people associate with them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset, SplitReader
from uniclip.evaluate.datasets.images import FileReader, ImageDataset

if TYPE_CHECKING:
    from uniclip.data.split import SplitName

FOLDER = "winogavil"
CLASSES = ("other", "associated")


class WinogavilReader(SplitReader):
    """WinoGAViL (Bitton et al., NeurIPS 2022): `winogavil_dataset.csv` and `images/<name>.png`.

    Both are as in `assets/` of the authors' repository, whose `download-images.py` names the
    images. An image of the split is one candidate of one cue; most pictures are candidates of many.
    The file has 3,563 cues, 854 of them with 10 or 12 candidates, and 24,330 candidates; 3,563 is
    the number that DataComp's `tasklist.yml` states for its copy.
    """

    def read(self, dataset: Dataset, root: Path, split: SplitName) -> ImageDataset:
        import numpy as np

        ids, names, prompts, labels, items = [], [], [], [], []
        with open(root / FOLDER / "winogavil_dataset.csv", newline="", encoding="utf-8") as stream:
            for item, row in enumerate(csv.DictReader(stream)):
                associations = set(json.loads(row["associations"]))
                for name in json.loads(row["candidates"]):
                    ids.append(f"{row['ID']}/{name}")
                    names.append(name)
                    prompts.append((build_prompt(row["cue"]),))
                    labels.append(int(name in associations))
                    items.append(item)
        if not ids:
            raise UserError(f"{dataset.name} lists no {split} images; {dataset.download_hint}")
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        return ImageDataset(
            name=dataset.name,
            split=split,
            kind=dataset.kind,
            metric=dataset.metric,
            ids=tuple(ids),
            reader=FileReader(tuple(root / FOLDER / f"images/{name}.png" for name in names)),
            labels=np.array(labels, np.int64),
            classes=CLASSES,
            captions=tuple(prompts),
            pairs=np.array(items, np.int64),
            picture_rows=np.array([numbers[name] for name in names], np.int64),
        )


def build_prompt(cue: str) -> str:
    """Return the text of a cue, as the authors' code and DataComp's write it."""
    word = cue.lower()
    return f"An {word}" if word[0] in "aeiou" else f"A {word}"
