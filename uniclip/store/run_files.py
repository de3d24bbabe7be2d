"""How the files of a run are read: each by its name below the run's folder.

`uniclip.store.results_index` reads them the same way, and remembers what they contain.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from uniclip.store.json_io import read_json, read_record

Record = TypeVar("Record")
Value = TypeVar("Value")


class RunFiles:
    """The files of a run, each read whenever it is asked for.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def read_record(self, cls: type[Record], name: str) -> Record | None:
        """Return the record of dataclass `cls` in a file, or None if there is no file.

        Raises:
            UserError: the file is damaged.
        """
        return read_record(cls, f"{self.folder}/{name}")

    def read_json(self, name: str) -> Any:
        """Return the JSON value in a file.

        Raises:
            FileNotFoundError: there is no file.
            UserError: the file is not JSON.
        """
        return read_json(Path(self.folder, name))

    def compute_digest(self, name: str) -> bytes | None:
        """Return the blake2b digest of a file's bytes, 16 bytes; None if there is no file."""
        return compute_digest(f"{self.folder}/{name}")

    def derive(
        self, name: str, sources: Sequence[str], value_type: Any, compute: Callable[[], Value]
    ) -> Value:
        """Return the value of `compute()`, which depends on the content of some files alone.

        Args:
            name: Names the value, of all that are derived of a run.
            sources: Names of the files.
            value_type: Type of the value: JSON's types, bytes and dataclasses of them.
            compute: Computes the value from the files.
        """
        return compute()

    def has_file(self, name: str) -> bool:
        """Return whether there is a file of this name that this user may find."""
        return os.path.exists(f"{self.folder}/{name}")

    def list_folder(self, name: str) -> list[str]:
        """Return the names in a folder; none without the folder."""
        try:
            return os.listdir(f"{self.folder}/{name}")
        except FileNotFoundError:
            return []


def compute_digest(path: str | Path) -> bytes | None:
    """Return the blake2b digest of a file's bytes, 16 bytes; None if there is no file."""
    try:
        with open(path, "rb") as stream:
            return blake2b(stream.read(), digest_size=16).digest()
    except FileNotFoundError:
        return None
