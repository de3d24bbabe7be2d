"""Runs of a shared store that this user may not write: they are left to the user whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from uniclip.store import Store, permissions


def find_denied_runs(store: Store, run_ids: Iterable[str]) -> dict[str, Path]:
    """Return run id -> the folder that this user may not write, of the runs that have one."""
    unwritable_paths = {run_id: store.get_run(run_id).find_unwritable() for run_id in run_ids}
    return {run_id: path for run_id, path in unwritable_paths.items() if path is not None}


def describe_denied_runs(store: Store, denied_paths: Mapping[str, Path]) -> str:
    """Return one line that counts the runs, and names the owner of the first and the remedy."""
    path, num_others = next(iter(denied_paths.values())), len(denied_paths) - 1
    others = f" and {num_others} more" if num_others else ""
    return (
        f"open runs left out because you may not write them: {len(denied_paths)}; "
        f"{permissions.describe_denial(path)}{others}; "
        f"fix: {permissions.describe_remedy(path, store.root)}"
    )
