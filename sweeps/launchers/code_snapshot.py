"""A copy of the code in the store, so that a job runs the code that was submitted.

Jobs import from `code/<source hash>/`, so the source tree may be edited while they are queued. A
copy whose content does not have the hash in its name is damaged and rejected.
"""

from __future__ import annotations

import compileall
import os
import shutil
import uuid
from functools import partial
from pathlib import Path

from sweeps.claims.environment import DIFF_FILE, read_diff
from uniclip.config import plugins
from uniclip.errors import UserError
from uniclip.identity import PACKAGES, ROOT, compute_source_hash, hash_source_tree
from uniclip.io.commit import COMMIT_FILE, read_commit
from uniclip.store import Store

_copy_folder = partial(
    shutil.copytree, ignore=shutil.ignore_patterns("*.pyc.*"), ignore_dangling_symlinks=True
)
"""Copies a folder without files that Python is compiling and without dangling links, which some
editors create as locks."""
MAX_COPY_ATTEMPTS = 3
"""Attempts to copy a source tree that is being edited."""


def create_snapshot(store: Store) -> Path:
    """Return the folder with a copy of the code of this process; create it if it is missing.

    Raises:
        UserError: the copy is damaged, or the source tree was edited since this process started.
    """
    snapshot_folder = store.snapshot_path(compute_source_hash())
    if not snapshot_folder.exists():
        _copy_code(snapshot_folder)
    verify_snapshot(snapshot_folder)
    return snapshot_folder


def verify_snapshot(snapshot_folder: Path) -> None:
    """Raise `UserError` unless the content of the snapshot has the hash in its name."""
    content_hash = (
        compute_source_hash() if snapshot_folder == ROOT else hash_source_tree(snapshot_folder)
    )
    if content_hash != snapshot_folder.name:
        raise UserError(
            f"{snapshot_folder} is damaged: it is not the code that was submitted; "
            "delete it and run again"
        )


def _copy_code(snapshot_folder: Path) -> None:
    """Copy the packages to a temporary folder and rename it; the first process to rename wins.

    A copy that was made during an edit has another hash and is made again.
    """
    snapshot_folder.parent.mkdir(parents=True, exist_ok=True)
    temporary_folder = snapshot_folder.with_name(f".{snapshot_folder.name}.{uuid.uuid4().hex}")
    try:
        for _ in range(MAX_COPY_ATTEMPTS):
            temporary_folder.mkdir()
            _copy_packages(temporary_folder)
            if hash_source_tree(temporary_folder) == snapshot_folder.name:
                compileall.compile_dir(temporary_folder, quiet=2)  # once for all jobs
                os.rename(temporary_folder, snapshot_folder)
                return
            shutil.rmtree(temporary_folder)
    except OSError as error:
        if snapshot_folder.exists():
            return
        if isinstance(error, shutil.Error):  # has a list of all files that failed
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
    (target_folder / COMMIT_FILE).write_text(f"{read_commit(ROOT)}\n", encoding="utf-8")
    (target_folder / DIFF_FILE).write_text(read_diff(ROOT), encoding="utf-8")
