"""The files of a data set that `datasets` wrote, and the split of each.

A folder of `save_to_disk` lists its splits (`dataset_dict.json`) and its files (`state.json`). In
any other folder all Arrow and Parquet files count, but for those of the library's own cache; the
names of the files or, if they say nothing, of their folders state the splits.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uniclip.data.csv.split_rule import SPLIT_WORDS
from uniclip.data.split import SplitName
from uniclip.errors import UserError
from uniclip.io.atomic import JSON_ERRORS, parse_json, resolve_staged_path

DICT_FILE = "dataset_dict.json"
STATE_FILE = "state.json"
INFO_FILE = "dataset_info.json"
SUFFIXES = (".arrow", ".parquet")
CACHE_PREFIXES = ("cache-", "tmp")
"""What the names of Arrow files begin with that `datasets` keeps for itself beside a data set."""
EXAMPLES = "a folder that save_to_disk wrote, or a folder of .arrow or .parquet files"


@dataclass(frozen=True)
class DataFile:
    """An Arrow or Parquet file as it is on the disk."""

    path: str
    """Where it is read: its copy on this node, if it is staged."""
    name: str
    """Its path within the folder of the data set."""
    split: SplitName | None
    """The split that is stated; None = none."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Time of change of its content, in nanoseconds."""

    @property
    def is_parquet(self) -> bool:
        """Whether it is a Parquet file, else an Arrow file."""
        return self.path.endswith(".parquet")


@dataclass(frozen=True)
class DataFolder:
    """The files of a data set."""

    files: tuple[DataFile, ...]
    """Those of its training, validation and test split, in the order of their names."""
    unused_splits: tuple[str, ...] = ()
    """Splits of other names."""

    @property
    def declared_splits(self) -> frozenset[SplitName]:
        """The splits that the data set states; empty = all samples are divided."""
        return frozenset(file.split for file in self.files if file.split is not None)


def list_files(path: str) -> DataFolder:
    """Return the files that `data.path` names.

    Raises:
        UserError: There are none, or one of them cannot be used.
    """
    original = Path(path).expanduser()
    root = resolve_staged_path(path)
    if root.is_file():
        if root.suffix not in SUFFIXES:
            raise UserError(f"data.path={path} is no .arrow or .parquet file: name {EXAMPLES}")
        return DataFolder((_stat_file(root, root.parent, None),))
    if not root.is_dir():
        raise UserError(f"there is no folder {original}; name {EXAMPLES} with data.path=<folder>")
    if (root / DICT_FILE).is_file():
        folder = _list_dict(root)
    elif (root / STATE_FILE).is_file():
        folder = DataFolder(tuple(_list_saved(root, root, None)))
    else:
        folder = _list_others(root)
    if not folder.files:
        raise UserError(f"data.path={path} has no file of a data set: name {EXAMPLES}")
    if len(folder.declared_splits) == 1 and all(file.split for file in folder.files):
        return replace(folder, files=tuple(replace(file, split=None) for file in folder.files))
    if folder.declared_splits and "train" not in folder.declared_splits:
        stated = ", ".join(sorted(folder.declared_splits))
        raise UserError(
            f"data.path={path} has no training split ({stated}): name the folder of the split that "
            "is trained on"
        )
    return folder


def _list_dict(root: Path) -> DataFolder:
    """Return the files of a folder of `DatasetDict.save_to_disk`."""
    names = _read_json(root / DICT_FILE).get("splits")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{root / DICT_FILE} does not list splits; save the data set again")
    files: list[DataFile] = []
    unused = []
    for name in names:
        if os.path.basename(name) != name:
            raise UserError(f"{root / DICT_FILE} does not name its splits; save the data set again")
        split = _find_split(name)
        if split is None and len(names) > 1:
            unused.append(name)
            continue
        files += _list_saved(root / name, root, split)
    return DataFolder(tuple(files), tuple(unused))


def _list_saved(folder: Path, root: Path, split: SplitName | None) -> Iterator[DataFile]:
    """Yield the files of a folder of `Dataset.save_to_disk`."""
    state = _read_json(folder / STATE_FILE)
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise UserError(
            f"{folder} holds rows and a selection of them; save it again after "
            "dataset.flatten_indices()"
        )
    entries = state.get("_data_files")
    if not isinstance(entries, list):
        raise UserError(f"{folder / STATE_FILE} does not list files; save the data set again")
    for entry in entries:
        name = entry.get("filename") if isinstance(entry, dict) else None
        if not isinstance(name, str) or os.path.basename(name) != name:
            raise UserError(f"{folder / STATE_FILE} does not name its files; save the set again")
        yield _stat_file(folder / name, root, split)


def _list_others(root: Path) -> DataFolder:
    """Return the files of a folder that has no list of them."""
    paths = sorted(
        path
        for path in _walk(root)
        if path.suffix in SUFFIXES and not path.name.startswith((*CACHE_PREFIXES, "."))
    )
    files = [_stat_file(path, root, _find_file_split(path.relative_to(root))) for path in paths]
    if all(file.split is None for file in files):
        return DataFolder(tuple(files))
    used_folders = {os.path.dirname(f.name) for f in files if f.split is not None} | {""}
    unused = [f.name for f in files if f.split is None]
    others = sorted({n if (d := os.path.dirname(n)) in used_folders else d for n in unused})
    return DataFolder(tuple(f for f in files if f.split is not None), tuple(others))


def _walk(root: Path) -> Iterator[Path]:
    """Yield the files in a folder and below, through links too; not those of hidden folders."""
    visited: set[str] = set()
    for folder, folder_names, file_names in os.walk(root, followlinks=True):
        if (resolved := os.path.realpath(folder)) in visited:
            folder_names.clear()  # a link to a folder that has been visited
            continue
        visited.add(resolved)
        folder_names[:] = sorted(name for name in folder_names if not name.startswith("."))
        yield from (Path(folder, name) for name in file_names)


def _find_file_split(path: Path) -> SplitName | None:
    """Return the split that the name of a file states, or else the nearest of its folders."""
    for name in (path.stem, *(folder.name for folder in path.parents)):
        if (split := _find_split(name)) is not None:
            return split
    return None


def _find_split(name: str) -> SplitName | None:
    """Return the split that a name states; of several words the last one."""
    words = re.split(r"[^a-z]+", name.lower())
    splits = [SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS]
    return splits[-1] if splits else None


def _stat_file(path: Path, root: Path, split: SplitName | None) -> DataFile:
    try:
        status = os.stat(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from None
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is no file; save the data set again")
    name = path.relative_to(root).as_posix()
    return DataFile(os.path.abspath(path), name, split, status.st_size, status.st_mtime_ns)


def _read_json(path: Path) -> dict[str, Any]:
    """Return the object of a JSON file; `UserError` if there is none."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, *JSON_ERRORS) as error:
        reason = getattr(error, "strerror", None) or "no JSON"
        raise UserError(f"{path} cannot be read ({reason}); save the data set again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} is no JSON object; save the data set again")
    return content


def read_class_names(files: Sequence[DataFile], column: str | None) -> tuple[str, ...]:
    """Return the names of the classes of a column by `dataset_info.json`; empty if there are none.

    A data set whose files state the types of their columns has those of the files.
    """
    return () if column is None else find_class_names(read_info(files), column)


def find_class_names(features: dict[str, Any], column: str | None) -> tuple[str, ...]:
    """Return the names of the classes 0, 1, ... of a column among types of `datasets`."""
    feature = features.get(column) if column is not None else None
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(map(str, names)) if isinstance(names, list) else ()


def read_info(files: Sequence[DataFile]) -> dict[str, Any]:
    """Return what a data set says of its columns: `features` of the nearest `dataset_info.json`.

    Column -> its type, as `datasets` writes it; empty if there is no such file.
    """
    path = find_info_file(files)
    features = None if path is None else _read_json(path).get("features")
    return features if isinstance(features, dict) else {}


def find_info_file(files: Sequence[DataFile]) -> Path | None:
    """Return the nearest `dataset_info.json` of a data set, or None."""
    folder = Path(files[0].path).parent
    for _ in range(len(Path(files[0].name).parts)):
        if (folder / INFO_FILE).is_file():
            return folder / INFO_FILE
        folder = folder.parent
    return None
