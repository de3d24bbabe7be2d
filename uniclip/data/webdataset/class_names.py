"""The names of classes, from a file that states them or from the keys of the classes themselves.

The key of a class is its folder, or the content of the `cls` members of its samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uniclip.config import WebdatasetData
from uniclip.config.data import split_sources
from uniclip.errors import UserError

CLASS_NAMES_KEY = "data.class_names_path"


def list_name_files(config: WebdatasetData) -> list[str]:
    """Return the file of class names of each labelled source; "" for one that has none."""
    num_sources = len(split_sources(config.labelled_path))
    files = split_sources(config.class_names_path) or [""]
    return files * num_sources if len(files) == 1 else files


def find_class_names(path: str, keys: Sequence[str], numbered: bool) -> dict[str, str]:
    """Return the name of each class of `keys`.

    Args:
        path: The file of class names; "" = none.
        keys: The keys of the classes, sorted.
        numbered: Whether the keys are the numbers of the lines, from 0 on, and not in their order.

    Raises:
        UserError: The file cannot be read, or does not name a class.
    """
    if not path:
        if numbered and all(key.isdecimal() for key in keys):
            raise UserError(
                f"the classes of data.labelled_path are numbers, such as {keys[0]}: name the file "
                f"of their names with {CLASS_NAMES_KEY}"
            )
        return {key: key for key in keys}
    lines = _read_lines(path)
    if all("\t" in line for line in lines):
        names = {key.strip(): name.strip() for key, name in (line.split("\t", 1) for line in lines)}
    elif numbered:
        names = {str(number): line for number, line in enumerate(lines)}
    elif len(lines) == len(keys):
        names = dict(zip(keys, lines))
    else:
        raise UserError(
            f"{path} has {len(lines)} names, but data.labelled_path {len(keys)} class folders: "
            'write one name a line for each folder, or "<folder><tab><name>"'
        )
    missing = [key for key in keys if not names.get(key)]
    if missing:
        raise UserError(
            f"{path} ({len(lines)} lines) has no name for the class {missing[0]!r} of "
            f"data.labelled_path, nor for {len(missing) - 1} others: add it"
        )
    return {key: names[key] for key in keys}


def _read_lines(path: str) -> list[str]:
    """Return the lines of a file without those that are blank at its end.

    Raises:
        UserError: It cannot be read, or is empty.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{CLASS_NAMES_KEY}={path} cannot be read ({reason})") from None
    lines = [line.strip(" \r") for line in text.rstrip().split("\n")]
    if not any(lines):
        raise UserError(f"{CLASS_NAMES_KEY}={path} is empty; write the name of a class a line")
    return lines
