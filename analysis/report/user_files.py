"""Files of the user's in the folder of a report: edited ones, and those that a report never wrote.

A report records the digest of every file that it writes (`DIGESTS_NAME`). So the next report knows
which files it may replace. A file with other bytes was edited: it stays, and the new one is written
beside it, as `report.new.ipynb`. A file that no report wrote stays as well.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path

DIGESTS_NAME = "digests.json"
"""File with the digest of every file that the report wrote, itself and the manifest left out."""
UNDIGESTED = (DIGESTS_NAME, "manifest.json")
CHECKPOINTS_FOLDER = ".ipynb_checkpoints"
"""Folder in which Jupyter keeps copies of notebooks."""


def write_digests(folder: Path) -> None:
    """Record the digests of all files in a folder that a report has just written."""
    names = [name for name in _list_files(folder) if name not in UNDIGESTED]
    _save_digests(folder, {name: _digest(folder / name) for name in names})


def carry_user_files(old: Path, new: Path) -> None:
    """Keep the user's files of an earlier report in the folder of a new one.

    Calling it again changes nothing more. Nothing is deleted in `old`.

    Args:
        old: folder of the earlier report; it may not exist.
        new: folder of the new report, with digests.
    """
    old_digests, new_digests = _read_digests(old), _read_digests(new)
    written_digests = dict(new_digests)
    for name in _list_files(old):
        while name not in UNDIGESTED and os.path.lexists(old / name):
            try:
                _carry_file(name, old, old_digests, new, new_digests)
                break
            except FileNotFoundError:  # another builder has just replaced one of the folders
                continue
    if new_digests != written_digests:
        _save_digests(new, new_digests)


def _carry_file(
    name: str, old: Path, old_digests: Mapping[str, str], new: Path, new_digests: dict[str, str]
) -> None:
    """Keep one file, if it is the user's; the digests of the new folder are updated."""
    source, target = old / name, new / name
    if _is_replaceable(old, name, old_digests):
        return
    digest = _digest(source)
    if target.exists() and _digest(target) == digest:
        return
    if name in new_digests and _digest(target) == new_digests[name]:
        free_name = _choose_free_name(name, old, old_digests, new)
        (new / free_name).unlink(missing_ok=True)
        os.rename(target, new / free_name)
        new_digests[free_name] = new_digests[name]
    _copy(source, target)
    if name in old_digests:  # so that the next report knows that these bytes are not its own
        new_digests.setdefault(name, old_digests[name])


def list_edited_files(folder: Path) -> dict[str, str]:
    """Return edited file -> the file beside it that the report wrote instead, "" if there is none.

    Names are relative to the folder; files that no report wrote are not among them.
    """
    digests = _read_digests(folder)
    edited = {}
    for name, digest in digests.items():
        path = folder / name
        if path.is_file() and _digest(path) not in digests.values():
            beside = [n for n in _list_names_beside(name) if digests.get(n) == digest]
            edited[name] = next((n for n in beside if (folder / n).is_file()), "")
    return edited


def describe_edited_files(folder: Path) -> list[str]:
    """Return a line for each edited file: it stays, and where the new one is."""
    return [
        f"{name} was edited and stays as it is; the new one is {beside}"
        if beside
        else f"{name} was edited and stays as it is"
        for name, beside in list_edited_files(folder).items()
    ]


def _is_replaceable(folder: Path, name: str, digests: Mapping[str, str]) -> bool:
    """Return whether a report wrote this file, or renamed a file that one wrote to its name."""
    if CHECKPOINTS_FOLDER in Path(name).parts:
        return False
    if digests:
        return name in digests and _digest(folder / name) in digests.values()
    return _is_older_than_manifest(folder, name)


def _is_older_than_manifest(folder: Path, name: str) -> bool:
    """Return whether a report without digests listed this file, and it has not changed since."""
    manifest_path = folder / "manifest.json"
    try:
        listed = name in json.loads(manifest_path.read_text(encoding="utf-8"))["files"]
        return listed and (folder / name).stat().st_mtime <= manifest_path.stat().st_mtime
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _choose_free_name(name: str, old: Path, old_digests: Mapping[str, str], new: Path) -> str:
    """Return the first name beside a file that is free, or that a report may replace."""
    for candidate in _list_names_beside(name):
        is_free = not (old / candidate).exists() or _is_replaceable(old, candidate, old_digests)
        if is_free and not (new / candidate).exists():
            return candidate
    raise AssertionError("there are infinitely many names")


def _list_names_beside(name: str) -> Iterator[str]:
    """Yield `report.new.ipynb`, `report.new-2.ipynb`, ... for `report.ipynb`."""
    path = Path(name)
    yield path.with_name(f"{path.stem}.new{path.suffix}").as_posix()
    for number in range(2, 1000):
        yield path.with_name(f"{path.stem}.new-{number}{path.suffix}").as_posix()


def _list_files(folder: Path) -> list[str]:
    """Return the names of all files below a folder, relative to it; none if it does not exist."""
    paths = [
        Path(root) / name
        for root, folder_names, file_names in os.walk(folder)
        for name in [*file_names, *(n for n in folder_names if os.path.islink(f"{root}/{n}"))]
    ]
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def _digest(path: Path) -> str:
    """Return 32 hex digits of the bytes of a file; of a link, those of its target."""
    if path.is_symlink():
        return blake2b(os.fsencode(os.readlink(path)), digest_size=16).hexdigest()
    return blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _copy(source: Path, target: Path) -> None:
    """Make a file appear in another folder: as the same file if the file system can link it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _read_digests(folder: Path) -> dict[str, str]:
    try:
        digests = json.loads((folder / DIGESTS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in digests.items()} if isinstance(digests, dict) else {}


def _save_digests(folder: Path, digests: Mapping[str, str]) -> None:
    text = json.dumps(dict(sorted(digests.items())), indent=1) + "\n"
    (folder / DIGESTS_NAME).write_text(text, encoding="utf-8")
