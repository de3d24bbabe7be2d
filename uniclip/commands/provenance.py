"""What a program's results depend on, as far as it is declared: files, packages and data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from uniclip.commands.definition import CommandDefinition
from uniclip.commands.template import render_text
from uniclip.data.webdataset.paths import expand_braces
from uniclip.errors import CHANGED_DATA_ADVICE, DataChangedError, UserError
from uniclip.io.file_digests import digest_files, name_memo
from uniclip.io.hashing import digest

UNVERIFIED = "provenance unverified"


def collect_fingerprint(
    definition: CommandDefinition, folder: Path, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the digests of the declared files and data, and the versions of packages.

    Args:
        definition: The program.
        folder: The folder of the ablation's file, to which patterns are relative.
        values: The values of the arm, which name its data.

    Raises:
        UserError: nothing matches a pattern, or a package is not installed.
    """
    data_patterns = [render_text(p, {**values, "here": folder}) for p in definition.data or ()]
    for template, pattern in zip(definition.data or (), data_patterns):
        if not pattern.strip():
            raise UserError(f"command.data: {template} is empty: give it a value")
    return {
        "sources": _digest_patterns("sources", folder, definition.sources or ()),
        "packages": {name: _get_version(name) for name in definition.packages or ()},
        # Not by its path: the same data may lie elsewhere.
        "data": [
            digest(_digest_patterns("data", folder, [pattern], is_relative=True))
            for pattern in data_patterns
        ],
    }


def require_fingerprint(planned: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Raise `DataChangedError` if files, packages or data are not those that were planned."""
    for kind in ("sources", "packages", "data"):
        if planned.get(kind) != current.get(kind):
            names = _list_changed(planned.get(kind), current.get(kind))
            raise DataChangedError(
                f"command.{kind} changed since the plan ({names}): {CHANGED_DATA_ADVICE}"
            )


def describe_unverified(definition: CommandDefinition) -> tuple[str, ...]:
    """Return a sentence if something is not declared on which results may depend; else nothing."""
    declared = {
        "source files": definition.sources,
        "packages": definition.packages,
        "data": definition.data,
    }
    missing = [name for name, names in declared.items() if names is None]
    if not missing:
        return ()
    return (f"{UNVERIFIED.capitalize()}: the command declares no {' and no '.join(missing)}.",)


def _digest_patterns(
    kind: str, folder: Path, patterns: Sequence[str], *, is_relative: bool = False
) -> dict[str, str]:
    """Return name -> digest of the files that patterns match, those of folders included."""
    digests: dict[str, str] = {}
    for pattern in patterns:
        files, root = find_files(kind, folder, pattern)
        current = digest_files(files, name_memo("command", folder, pattern))
        base = root if is_relative else folder
        digests |= {os.path.relpath(path, base): value for path, value in zip(files, current)}
    return digests


def find_files(kind: str, folder: Path, pattern: str) -> tuple[list[Path], Path]:
    """Return the files that a pattern matches, sorted, and the folder that they lie in.

    A pattern is a file, a folder (all files below it) or a pattern of names; a brace range such as
    {000..003} is expanded.

    Raises:
        UserError: it matches nothing.
    """
    files: list[Path] = []
    root = folder
    for name in expand_braces(pattern):
        path = Path(folder, name)
        root = path if path.is_dir() else path.parent
        if path.is_dir():
            files += _list_files(path)
        elif path.is_file():
            files.append(path)
        else:
            files += [p for p in path.parent.glob(path.name) if p.is_file()]
    if not files:
        raise UserError(f"command.{kind}: {pattern} matches no file in {folder}")
    return sorted(set(files)), root


def _list_files(folder: Path) -> list[Path]:
    """Return the files below a folder, those of linked folders included, each folder once."""
    files: list[Path] = []
    seen_folders: set[str] = set()
    for root, folder_names, names in os.walk(folder, followlinks=True):
        real_path = os.path.realpath(root)
        if real_path in seen_folders or Path(root).name == "__pycache__":
            folder_names.clear()
            continue
        seen_folders.add(real_path)
        folder_names.sort()
        files += [path for name in names if (path := Path(root, name)).is_file()]
    return files


def _get_version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise UserError(f"command.packages: {package} is not installed") from None


def _list_changed(planned: Any, current: Any) -> str:
    if isinstance(planned, Mapping) and isinstance(current, Mapping):
        names = [n for n in {**planned, **current} if planned.get(n) != current.get(n)]
        return ", ".join(names[:3])
    return "other bytes"
