"""Small valid trees of the data sets of `benchmark=shifts`, with one image of each class."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from tests.helpers.dataset_trees import Truth, colour
from uniclip.evaluate.datasets.readers.imagenet_shifts import list_imagenet_classes

SIDE = 12
RED = (255, 0, 0)


def _draw(path: Path, label: int, border: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (SIDE + 2 * border, SIDE + 2 * border), RED)
    image.paste(colour(label % 27), (border, border, SIDE + border, SIDE + border))
    image.save(path)


def _write_classes(
    folder: Path, folder_names: Sequence[str], classes: Sequence[str], suffix: str
) -> Truth:
    truth = Truth(tuple(classes))
    truth.rows["test"] = []
    for label, name in enumerate(folder_names):
        _draw(folder / name / f"{label}{suffix}", label)
        truth.rows["test"].append((f"{name}/{label}{suffix}", label))
    return truth


def imagenet_v2(root: Path) -> Truth:
    classes = list_imagenet_classes()
    folder = root / "imagenetv2-matched-frequency-format-val"
    return _write_classes(folder, [str(i) for i in range(1000)], classes, ".jpeg")


def imagenet_sketch(root: Path) -> Truth:
    classes = list_imagenet_classes()
    return _write_classes(root / "sketch", classes, classes, ".JPEG")


def _write_subset(root: Path, name: str) -> Truth:
    classes = list_imagenet_classes(name)
    (root / name.replace("_", "-")).mkdir()
    (root / name.replace("_", "-") / "README.txt").write_text("as in the archive\n")
    return _write_classes(root / name.replace("_", "-"), classes, classes, ".jpg")


def imagenet_a(root: Path) -> Truth:
    return _write_subset(root, "imagenet_a")


def imagenet_r(root: Path) -> Truth:
    return _write_subset(root, "imagenet_r")


def imagenet_o(root: Path) -> Truth:
    return _write_subset(root, "imagenet_o")


def objectnet(root: Path) -> Truth:
    """Write three classes, two of which ImageNet has, with red borders of 2 pixels."""
    base = root / "objectnet-1.0"
    labels = {"t_shirt": "T-shirt", "air_freshener": "Air freshener", "alarm_clock": "Alarm clock"}
    in_imagenet = {"T-shirt": "jersey, T-shirt, tee shirt", "Alarm clock": "analog clock"}
    (base / "mappings").mkdir(parents=True)
    for name, content in (
        ("folder_to_objectnet_label.json", labels),
        ("objectnet_to_imagenet_1k.json", in_imagenet),
        ("pytorch_to_imagenet_2012_id.json", {"409": 0, "610": 1}),
    ):
        (base / "mappings" / name).write_text(json.dumps(content))
    (base / "mappings/imagenet_to_label_2012_v2").write_text(
        "".join(f"{n}\n" for n in ("analog clock", "jersey, T-shirt, tee shirt"))
    )
    truth = Truth(("alarm clock", "t-shirt"), {"test": []})
    for i, folder in enumerate(("air_freshener", "alarm_clock", "t_shirt")):
        _draw(base / f"images/{folder}/{i}.png", max(i - 1, 0), border=2)
        if i:
            truth.rows["test"].append((f"{folder}/{i}.png", i - 1))
    return truth


SHIFT_WRITERS: dict[str, Callable[[Path], Truth]] = {
    writer.__name__: writer
    for writer in (imagenet_v2, imagenet_a, imagenet_r, imagenet_sketch, imagenet_o, objectnet)
}
