"""Small valid trees of the data sets of `benchmark=composition`.

A writer returns each image's id, captions (the correct one first) and category, in order.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from tests.helpers.dataset_trees import colour
from uniclip.evaluate.datasets.readers.caption_choices import SUGARCREPE_CATEGORIES

Row = tuple[str, tuple[str, ...], str]
NAMES = ("red", "green", "blue", "brown", "grey", "pink")


def draw(path: Path, label: int, box: tuple[int, int, int, int] | None = None) -> None:
    """Draw an image of one colour; with a box, everything around it is black."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (24, 20), (0, 0, 0) if box else colour(label))
    if box:
        image.paste(colour(label), box)
    image.save(path)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def sugarcrepe(root: Path) -> list[Row]:
    rows: list[Row] = []
    for label, category in enumerate(SUGARCREPE_CATEGORIES):
        items = {}
        for key in ("3", "10"):
            captions = (f"a {NAMES[label % 6]} thing {key}", f"a thing {key} that is not")
            name = f"{label:012d}.png"
            draw(root / "coco/val2017" / name, label)
            items[key] = dict(zip(("filename", "caption", "negative_caption"), (name, *captions)))
            rows.append((f"{category}/{key}", captions, category))
        write_json(root / f"sugarcrepe/{category}.json", items)
    return rows


def winoground(root: Path) -> list[Row]:
    rows: list[Row] = []
    lines = []
    for i in range(3):
        captions = (f"{NAMES[i]} before {NAMES[i + 1]}", f"{NAMES[i + 1]} before {NAMES[i]}")
        tag = "Object" if i < 2 else "Relation"
        item = {"id": i, "tag": f"{tag}-x", "secondary_tag": "", "collapsed_tag": tag}
        for j in (0, 1):
            item |= {f"image_{j}": f"ex_{i}_img_{j}", f"caption_{j}": captions[j]}
            draw(root / f"winoground/images/ex_{i}_img_{j}.png", i + j)
            rows.append((f"{i}/{j}", (captions[j], captions[1 - j]), tag))
        lines.append(json.dumps(item))
    (root / "winoground/examples.jsonl").write_text("\n".join(lines) + "\n")
    return rows


def _aro(root: Path, file_name: str, key: str, categories: list[Any]) -> list[Row]:
    rows: list[Row] = []
    items = []
    for i, category in enumerate(categories):
        captions = (f"the {NAMES[i]} left of it", f"it left of the {NAMES[i]}")
        path = f"{2300 + i}.png"
        draw(root / "aro/images" / path, i, box=(4, 5, 14, 17))
        box = {"bbox_x": 4, "bbox_y": 5, "bbox_w": 10, "bbox_h": 12}
        items.append(
            {"image_id": i, "image_path": path, "true_caption": captions[0]}
            | {"false_caption": captions[1], key: category, **box}
        )
        text = category if isinstance(category, str) else "_".join(category)
        rows.append((str(i), captions, text))
    write_json(root / "aro" / file_name, items)
    return rows


def aro_relation(root: Path) -> list[Row]:
    names = ["to the left of", "holding", "holding"]
    return _aro(root, "visual_genome_relation.json", "relation_name", names)


def aro_attribution(root: Path) -> list[Row]:
    pairs = [["white", "tall"], ["open", "red"]]
    return _aro(root, "visual_genome_attribution.json", "attributes", pairs)


COMPOSITION_WRITERS: dict[str, Callable[[Path], list[Row]]] = {
    writer.__name__: writer for writer in (sugarcrepe, winoground, aro_relation, aro_attribution)
}
