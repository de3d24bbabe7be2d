"""The user's own pictures: folders of classes, a CSV of captions, WebDataset shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from uniclip.data.split import Part
from uniclip.errors import UserError
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.files import located

CALLED: dict[Part, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
"""Folders of a part."""
METRICS: dict[str, Any] = {
    "classification": "accuracy",
    "multilabel": "map11",
    "retrieval": "recall",
}


def folder(path: str) -> Dataset:
    """`<part>/<class>/<picture>`, or `<class>/<picture>` alone, all of which is the test part.

    Without a test folder, `val` beside `train` is the test part, as in ImageNet. Without one for
    validation, a tenth of each class of `train` is held out.
    """
    place = _place("folder", path)
    files = {part: (name,) for part, name in _parts(place).items()}
    if "test" not in files and {"train", "validation"} <= set(files):
        files["test"] = files.pop("validation")
    if "test" not in files:  # so it has no parts; what is called `val`, say, is a class
        files = {"test": (".",)}
    return Dataset(
        name=f"folder:{path}",
        title=place.name,
        files=files,
        reader="folders.own_folder",
        held_out="train" in files and "validation" not in files,
        place=place,
        how="name a folder that holds one folder of pictures for each class",
    )


def table(path: str) -> Dataset:
    """A CSV with the columns `picture` and `caption`; all of it is the test part.

    Paths are relative to the CSV; rows with one picture are its captions.
    """
    place = _place("csv", path)
    return Dataset(
        name=f"csv:{path}",
        title=place.stem,
        kind="retrieval",
        metric="recall",
        files={"test": (place.name,)},
        reader="captioned.read",
        place=place.parent,
        how="name a CSV file with the columns picture and caption",
    )


def shards(path: str) -> Dataset:
    """WebDataset shards in clip-benchmark's layout: `<part>/{nshards.txt,0.tar,...}`."""
    place = _place("wds", path)
    stated = place / "dataset_type.txt"
    kind: Any = stated.read_text().strip().lower() if stated.is_file() else "classification"
    if kind not in METRICS:
        raise UserError(f"{stated} says {kind!r}: write one of {', '.join(METRICS)}")
    files = {part: (f"{name}/nshards.txt", name) for part, name in _parts(place).items()}
    files.setdefault("test", ("test/nshards.txt", "test"))
    return Dataset(
        name=f"wds:{path}",
        title=place.name,
        kind=kind,
        metric=METRICS[kind],
        files=files,
        reader="shards.read",
        held_out=kind == "classification" and "train" in files and "validation" not in files,
        place=place,
        how="write it with python sweep.py data export <name> to=<folder>, or clip-benchmark",
    )


def _parts(place: Path) -> dict[Part, str]:
    """The folder of each part that has one."""
    found = {p: [n for n in names if (place / n).is_dir()] for p, names in CALLED.items()}
    return {part: names[0] for part, names in found.items() if names}


def _place(kind: str, path: str) -> Path:
    if not path:
        raise UserError(f"{kind}: names no path: write {kind}:<path>")
    return located(path).absolute()


KINDS: dict[str, Callable[[str], Dataset]] = {"folder": folder, "csv": table, "wds": shards}
"""What may stand before the colon."""
