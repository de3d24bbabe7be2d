"""The user's own pictures: folders of classes, a CSV of captions, WebDataset shards."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from uniclip import identity
from uniclip.config import CsvData
from uniclip.data.csv import source as training_table
from uniclip.data.split import Part
from uniclip.errors import UserError
from uniclip.evaluate import prompts
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.io.atomic import located, remembered, sum_of

CALLED: dict[Part, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
"""Folders of a part."""
CLASSES, TEMPLATES, TYPE = (
    "classnames.txt",
    "zeroshot_classification_templates.txt",
    "dataset_type.txt",
)
"""What lies beside the parts of shards."""
RECENT = 2.0
"""A file that changed less than so many seconds ago may change again at the same time of change."""
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
        reader="readers.image_folders.own_folder",
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
        reader="readers.captioned_csv.read",
        stamps="custom.table_stamps",
        place=place.parent,
        how="name a CSV file with the columns picture and caption",
    )


def shards(path: str) -> Dataset:
    """WebDataset shards in clip-benchmark's layout: `<part>/{nshards.txt,0.tar,...}`.

    Templates that lie there are used unless a user's own protocol says others.
    """
    place = _place("wds", path)
    stated = place / TYPE
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
        reader="readers.webdataset.read",
        stamps="custom.shard_stamps",
        templates=_templates(place / TEMPLATES) if kind != "retrieval" else (),
        held_out=kind == "classification" and "train" in files and "validation" not in files,
        place=place,
        how="write it with python sweep.py data export <name> to=<folder>, or clip-benchmark",
    )


def table_stamps(root: Path, wanted: tuple[str, ...]) -> dict[str, str]:
    """The sum of a table, and of the names and sizes of its pictures; `UserError` if faulty."""
    (name,) = wanted
    found = training_table.fingerprint(CsvData(path=str(root / name)))
    return {f"{name} whole": found["index"]["sum"], f"{name}'s pictures": found["pictures"]}


def shard_stamps(root: Path, wanted: tuple[str, ...]) -> dict[str, str]:
    """The sum of each shard of a part, and of what lies beside the parts."""
    files = [
        *sorted((root / wanted[1]).glob("*.tar")),
        *(root / n for n in (CLASSES, TEMPLATES, TYPE)),
    ]
    return {path.relative_to(root).as_posix(): _sum(path) for path in files if path.is_file()}


def _sum(path: Path) -> str:
    """Of a whole file; remembered with its size and times of change, unless they are recent."""
    status = path.stat()
    if time.time() - max(status.st_mtime, status.st_ctime) < RECENT:
        return sum_of(path)
    state = [str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return str(remembered("shards", identity.digest(state, 32), lambda: sum_of(path)))


def _templates(path: Path) -> tuple[str, ...]:
    """Lines with "{c}" for the name; none if there is no file."""
    if not path.is_file():
        return ()
    rows = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return prompts.checked([row.replace("{c}", "{}") for row in rows if row], str(path))


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
