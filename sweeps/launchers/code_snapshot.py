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
from uniclip.identity import PACKAGES, ROOT, compute_source_hash, hash_source_tree
from uniclip.store import Store

_copy_folder = partial(
    shutil.copytree, ignore=shutil.ignore_patterns("*.pyc.*"), ignore_dangling_symlinks=True
)
"""But for what Python is just compiling, and links that lead nowhere: editors lock files so."""


MAX_COPY_ATTEMPTS = 3
"""So often a copy is tried while somebody edits the tree."""


def create_snapshot(store: Store) -> Path:
    """The folder of the snapshot of the code that is running now; made if it is not there.

    Raises:
        UserError: there is one of that name, but it is damaged; or the tree holds other code by
            now than that which is running.
    """
    snapshot_folder = store.snapshot_path(compute_source_hash())
    if not snapshot_folder.exists():
        _copy_code(snapshot_folder)
    verify_snapshot(snapshot_folder)
    return snapshot_folder


def verify_snapshot(snapshot_folder: Path) -> None:
    """`UserError` unless the snapshot holds what its name says."""
    content_hash = (
        compute_source_hash() if snapshot_folder == ROOT else hash_source_tree(snapshot_folder)
    )
    if content_hash != snapshot_folder.name:
        raise UserError(
            f"{snapshot_folder} is damaged: it is not the code that was submitted; delete it and run again"
        )


def _copy_code(snapshot_folder: Path) -> None:
    """Copy the packages beside `place`, then put them there in one step (who is first wins).

    What was caught in the middle of an edit is copied again: it never stands under this name.
    """
    snapshot_folder.parent.mkdir(parents=True, exist_ok=True)
    temporary_folder = snapshot_folder.with_name(f".{snapshot_folder.name}.{uuid.uuid4().hex}")
    try:
        for _ in range(MAX_COPY_ATTEMPTS):
            temporary_folder.mkdir()
            _copy_packages(temporary_folder)
            if hash_source_tree(temporary_folder) == snapshot_folder.name:
                compileall.compile_dir(temporary_folder, quiet=2)  # once, and not by every job
                os.rename(temporary_folder, snapshot_folder)
                return
            shutil.rmtree(temporary_folder)
    except OSError as error:
        if snapshot_folder.exists():
            return
        if isinstance(error, shutil.Error):  # a list of every file that failed
            path, _, message = error.args[0][0]
            raise UserError(
                f"the code cannot be copied to {snapshot_folder}: {path}: {message}"
            ) from error
        raise
    finally:
        shutil.rmtree(temporary_folder, ignore_errors=True)
    raise UserError(f"the code in {ROOT} was edited since this command was started: run it again")


def _copy_packages(target_folder: Path) -> None:
    for package in PACKAGES:
        _copy_folder(ROOT / package, target_folder / package)
    for plugin_path in plugins.get_plugin_paths():
        copy_function = _copy_folder if plugin_path.is_dir() else shutil.copy2
        copy_function(plugin_path, target_folder / plugin_path.name)
    shutil.copy2(ROOT / "sweep.py", target_folder / "sweep.py")
