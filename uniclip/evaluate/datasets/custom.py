"""The user's own pictures: folders of classes, a CSV of captions, WebDataset shards."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from uniclip import identity
from uniclip.config import CsvData
from uniclip.data.csv import source as training_table
from uniclip.data.split import SplitName
from uniclip.errors import UserError
from uniclip.evaluate import prompts
from uniclip.evaluate.datasets.dataset import Dataset
from uniclip.io.atomic import digest_file, disk_memoize, resolve_staged_path

SPLIT_FOLDERS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
"""Folders of a part."""
CLASSES_FILE, TEMPLATES_FILE, TYPE_FILE = (
    "classnames.txt",
    "zeroshot_classification_templates.txt",
    "dataset_type.txt",
)
"""What lies beside the parts of shards."""
RECENT_SECONDS = 2.0
"""A file that changed less than so many seconds ago may change again at the same time of change."""
DEFAULT_METRICS: dict[str, Any] = {
    "classification": "accuracy",
    "multilabel": "map11",
    "retrieval": "recall",
}


def folder_dataset(path: str) -> Dataset:
    """`<part>/<class>/<picture>`, or `<class>/<picture>` alone, all of which is the test part.

    Without a test folder, `val` beside `train` is the test part, as in ImageNet. Without one for
    validation, a tenth of each class of `train` is held out.
    """
    root = _resolve_path("folder", path)
    files = {split: (name,) for split, name in _find_split_folders(root).items()}
    if "test" not in files and {"train", "validation"} <= set(files):
        files["test"] = files.pop("validation")
    if "test" not in files:  # so it has no parts; what is called `val`, say, is a class
        files = {"test": (".",)}
    return Dataset(
        name=f"folder:{path}",
        title=root.name,
        files=files,
        reader="readers.image_folders.own_folder",
        held_out="train" in files and "validation" not in files,
        user_folder=root,
        download_hint="name a folder that holds one folder of pictures for each class",
    )


def csv_dataset(path: str) -> Dataset:
    """A CSV with the columns `picture` and `caption`; all of it is the test part.

    Paths are relative to the CSV; rows with one picture are its captions.
    """
    csv_path = _resolve_path("csv", path)
    return Dataset(
        name=f"csv:{path}",
        title=csv_path.stem,
        kind="retrieval",
        metric="recall",
        files={"test": (csv_path.name,)},
        reader="readers.captioned_csv.read",
        content_digests="custom.table_stamps",
        user_folder=csv_path.parent,
        download_hint="name a CSV file with the columns picture and caption",
    )


def webdataset_dataset(path: str) -> Dataset:
    """WebDataset shards in clip-benchmark's layout: `<part>/{nshards.txt,0.tar,...}`.

    Templates that lie there are used unless a user's own protocol says others.
    """
    root = _resolve_path("wds", path)
    type_file = root / TYPE_FILE
    kind: Any = type_file.read_text().strip().lower() if type_file.is_file() else "classification"
    if kind not in DEFAULT_METRICS:
        raise UserError(f"{type_file} says {kind!r}: write one of {', '.join(DEFAULT_METRICS)}")
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
        reader="readers.webdataset.read",
        content_digests="custom.shard_stamps",
        templates=_read_templates(root / TEMPLATES_FILE) if kind != "retrieval" else (),
        held_out=kind == "classification" and "train" in files and "validation" not in files,
        user_folder=root,
        download_hint="write it with python sweep.py data export <name> to=<folder>, or clip-benchmark",
    )


def compute_csv_digests(root: Path, file_names: tuple[str, ...]) -> dict[str, str]:
    """The sum of a table, and of the names and sizes of its pictures; `UserError` if faulty."""
    (name,) = file_names
    fingerprint = training_table.fingerprint(CsvData(path=str(root / name)))
    return {
        f"{name} whole": fingerprint["index"]["sum"],
        f"{name}'s pictures": fingerprint["pictures"],
    }


def compute_shard_digests(root: Path, file_names: tuple[str, ...]) -> dict[str, str]:
    """The sum of each shard of a part, and of what lies beside the parts."""
    files = [
        *sorted((root / file_names[1]).glob("*.tar")),
        *(root / n for n in (CLASSES_FILE, TEMPLATES_FILE, TYPE_FILE)),
    ]
    return {
        path.relative_to(root).as_posix(): _digest_file(path) for path in files if path.is_file()
    }


def _digest_file(path: Path) -> str:
    """Of a whole file; remembered with its size and times of change, unless they are recent."""
    status = path.stat()
    if time.time() - max(status.st_mtime, status.st_ctime) < RECENT_SECONDS:
        return digest_file(path)
    memo_key = [str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return str(disk_memoize("shards", identity.digest(memo_key, 32), lambda: digest_file(path)))


def _read_templates(path: Path) -> tuple[str, ...]:
    """Lines with "{c}" for the name; none if there is no file."""
    if not path.is_file():
        return ()
    rows = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return prompts.validate_templates([row.replace("{c}", "{}") for row in rows if row], str(path))


def _find_split_folders(root: Path) -> dict[SplitName, str]:
    """The folder of each part that has one."""
    existing_folders = {
        p: [n for n in names if (root / n).is_dir()] for p, names in SPLIT_FOLDERS.items()
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
"""What may stand before the colon."""
