"""User-defined data sets: folders of classes, a CSV of captions, WebDataset shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniclip.errors import UserError
from uniclip.evaluate import prompts
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.evaluate.datasets.readers.captioned_csv import CaptionedCsvReader
from uniclip.evaluate.datasets.readers.image_folders import FolderReader
from uniclip.evaluate.datasets.readers.webdataset import (
    TEMPLATES_FILE,
    TYPE_FILE,
    WebDatasetReader,
)
from uniclip.io.atomic import resolve_staged_path

if TYPE_CHECKING:
    from uniclip.data.split import SplitName
    from uniclip.evaluate.datasets.images import DatasetKind
    from uniclip.evaluate.metrics import Metric

SPLIT_FOLDERS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
"""Folder names of each split, the preferred one first."""
DEFAULT_METRICS: dict[DatasetKind, Metric] = {
    "classification": "accuracy",
    "multilabel": "map11",
    "retrieval": "recall",
}


def folder_dataset(path: str) -> Dataset:
    """Describe `<split>/<class>/<image>`, or `<class>/<image>`, all of which is the test split.

    Without a test folder, `val` beside `train` is the test split, as in ImageNet. Without one for
    validation, a tenth of each class of `train` is held out.
    """
    root = _resolve_path("folder", path)
    files = {split: (name,) for split, name in _find_split_folders(root).items()}
    if "test" not in files and {"train", "validation"} <= set(files):
        files["test"] = files.pop("validation")
    if "test" not in files:  # so there are no splits: a folder called `val`, say, is a class
        files = {"test": (".",)}
    return Dataset(
        name=f"folder:{path}",
        title=root.name,
        files=files,
        reader=FolderReader(),
        held_out="train" in files and "validation" not in files,
        user_folder=root,
        download_hint="name a folder that holds one folder of images for each class",
    )


def csv_dataset(path: str) -> Dataset:
    """Describe a CSV with the columns `picture` and `caption`, all of which is the test split.

    Paths are relative to the CSV; rows with one image are its captions.
    """
    csv_path = _resolve_path("csv", path)
    return Dataset(
        name=f"csv:{path}",
        title=csv_path.stem,
        kind="retrieval",
        metric=DEFAULT_METRICS["retrieval"],
        files={"test": (csv_path.name,)},
        reader=CaptionedCsvReader(),
        user_folder=csv_path.parent,
        download_hint="name a CSV file with the columns picture and caption",
    )


def webdataset_dataset(path: str) -> Dataset:
    """Describe WebDataset shards in clip-benchmark's layout: `<split>/{nshards.txt,0.tar,...}`.

    Templates stored there are used unless a user-defined protocol names others.
    """
    root = _resolve_path("wds", path)
    type_file = root / TYPE_FILE
    kind: Any = type_file.read_text().strip().lower() if type_file.is_file() else "classification"
    if kind not in DEFAULT_METRICS:
        choices = ", ".join(DEFAULT_METRICS)
        raise UserError(f"{type_file} says {kind!r}: write one of {choices}")
    files = {
        split: (f"{name}/nshards.txt", name) for split, name in _find_split_folders(root).items()
    }
    files.setdefault("test", ("test/nshards.txt", "test"))
    return Dataset(
        name=f"wds:{path}",
        title=root.name,
        kind=kind,
        metric=DEFAULT_METRICS[kind],
        files=files,
        reader=WebDatasetReader(),
        templates=_read_templates(root / TEMPLATES_FILE) if kind != "retrieval" else (),
        held_out=kind == "classification" and "train" in files and "validation" not in files,
        user_folder=root,
        download_hint="write it with python sweep.py data export <name> to=<folder>, "
        "or clip-benchmark",
    )


def _read_templates(path: Path) -> tuple[str, ...]:
    """Return the lines with "{c}" for the name; none if there is no file."""
    if not path.is_file():
        return ()
    rows = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return prompts.validate_templates([row.replace("{c}", "{}") for row in rows if row], str(path))


def _find_split_folders(root: Path) -> dict[SplitName, str]:
    """Return the folder of each split that has one."""
    existing_folders = {
        split: [n for n in names if (root / n).is_dir()] for split, names in SPLIT_FOLDERS.items()
    }
    return {split: names[0] for split, names in existing_folders.items() if names}


def _resolve_path(kind: str, path: str) -> Path:
    if not path:
        raise UserError(f"{kind}: names no path: write {kind}:<path>")
    return resolve_staged_path(path).absolute()


CUSTOM_KINDS: dict[str, Callable[[str], Dataset]] = {
    "folder": folder_dataset,
    "csv": csv_dataset,
    "wds": webdataset_dataset,
}
"""What may precede the colon in the name of a user-defined data set."""
