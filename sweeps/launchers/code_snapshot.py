"""The code that was submitted is the code that runs: a copy of it in the store.

Jobs import from `code/<source hash>/`, so the tree may be edited while they wait. The name is the
content: a copy whose bytes have another hash is damaged, and refused.
"""

from __future__ import annotations

import compileall
import os
import shutil
import uuid
from functools import partial
from pathlib import Path

from uniclip.config import plugins
from uniclip.errors import UserError
from uniclip.identity import PACKAGES, ROOT, source_hash, source_hash_of
from uniclip.store import Store

_copy_folder = partial(
    shutil.copytree, ignore=shutil.ignore_patterns("*.pyc.*"), ignore_dangling_symlinks=True
)
"""But for what Python is just compiling, and links that lead nowhere: editors lock files so."""


COPIES = 3
"""So often a copy is tried while somebody edits the tree."""


def take(store: Store) -> Path:
    """The folder of the snapshot of the code that is running now; made if it is not there.

    Raises:
        UserError: there is one of that name, but it is damaged; or the tree holds other code by
            now than that which is running.
    """
    place = store.code(source_hash())
    if not place.exists():
        _copy(place)
    check(place)
    return place


def check(place: Path) -> None:
    """`UserError` unless the snapshot holds what its name says."""
    found = source_hash() if place == ROOT else source_hash_of(place)
    if found != place.name:
        raise UserError(
            f"{place} is damaged: it is not the code that was submitted; delete it and run again"
        )


def _copy(place: Path) -> None:
    """Copy the packages beside `place`, then put them there in one step (who is first wins).

    What was caught in the middle of an edit is copied again: it never stands under this name.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    trial = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    try:
        for _ in range(COPIES):
            trial.mkdir()
            _fill(trial)
            if source_hash_of(trial) == place.name:
                compileall.compile_dir(trial, quiet=2)  # once, and not by every job
                os.rename(trial, place)
                return
            shutil.rmtree(trial)
    except OSError as error:
        if place.exists():
            return
        if isinstance(error, shutil.Error):  # a list of every file that failed
            path, _, why = error.args[0][0]
            raise UserError(f"the code cannot be copied to {place}: {path}: {why}") from error
        raise
    finally:
        shutil.rmtree(trial, ignore_errors=True)
    raise UserError(f"the code in {ROOT} was edited since this command was started: run it again")


def _fill(trial: Path) -> None:
    for package in PACKAGES:
        _copy_folder(ROOT / package, trial / package)
    for own in plugins.places():
        copy = _copy_folder if own.is_dir() else shutil.copy2
        copy(own, trial / own.name)
    shutil.copy2(ROOT / "sweep.py", trial / "sweep.py")
