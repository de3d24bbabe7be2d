"""Small valid trees of the data sets of `benchmark=long`.

A writer returns the id and the caption of each image of the test split.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from tests.helpers.dataset_trees import colour

Rows = list[tuple[str, str]]
CAPTIONS = tuple(f"{'a very long caption of many words ' * (10 * i)}number {i}." for i in range(3))


def draw(path: Path, label: int) -> None:
    """Draw an image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 16), colour(label)).save(path)


def docci(root: Path) -> Rows:
    records, rows = [], []
    for split in ("train", "qual_dev", "test"):
        for i, caption in enumerate(CAPTIONS):
            name = f"{split}_{i:05d}"
            draw(root / f"docci/images/{name}.jpg", i)
            records.append(
                {"example_id": name, "split": split, "image_file": f"{name}.jpg"}
                | {"description": caption}
            )
            rows += [(name, caption)] if split == "test" else []
    lines = "".join(f"{json.dumps(record)}\n" for record in records)
    (root / "docci/docci_descriptions.jsonlines").write_text(lines)
    return rows


def iiw(root: Path) -> Rows:
    rows = []
    (root / "iiw-400").mkdir()
    with open(root / "iiw-400/data.jsonl", "w") as stream:
        for i, caption in enumerate(CAPTIONS):
            key = f"aar_test_{i:05d}"
            draw(root / f"docci/images_aar/{key}.jpg", i)
            stream.write(json.dumps({"image/key": key, "IIW": caption, "IIW-P5B": "x"}) + "\n")
            rows.append((key, caption))
    return rows


def dci(root: Path) -> Rows:
    rows = []
    folder = root / "densely_captioned_images"
    (folder / "annotations").mkdir(parents=True)
    for i, caption in enumerate(CAPTIONS):
        draw(folder / f"photos/sa_{i}.jpg", i)
        record = {"image": f"sa_{i}.jpg", "short_caption": f"short {i}", "extra_caption": caption}
        if i == 0:
            record["extra_caption"] = ""
        (folder / f"annotations/sa_{i}.json").write_text(json.dumps(record))
        rows.append((f"sa_{i}", f"short {i}\n{record['extra_caption']}".strip()))
    return rows


def urban1k(root: Path) -> Rows:
    rows = []
    folder = root / "Urban1k"
    (folder / "caption").mkdir(parents=True)
    for i, caption in enumerate(CAPTIONS):
        draw(folder / f"image/{i}.jpg", i)
        (folder / f"caption/{i}.txt").write_text(f"{caption}\nanother line\n")
        rows.append((str(i), caption))
    return rows


WRITERS: dict[str, Callable[[Path], Rows]] = {
    "docci": docci,
    "dci": dci,
    "iiw": iiw,
    "urban1k": urban1k,
}
