"""`sweep.py gc`: list what can be deleted from the store, and delete it."""

from __future__ import annotations

import shutil
from argparse import ArgumentParser, Namespace
from pathlib import Path

from sweeps.monitor.terminal import print_json
from uniclip.config.overrides import TEXT, parse_overrides
from uniclip.data.outdated_indices import list_outdated_folders
from uniclip.errors import UserError
from uniclip.store import RunFolder, Store


def add_arguments(parser: ArgumentParser) -> None:
    """Add the flags --yes and --json."""
    parser.add_argument("--yes", action="store_true", help="delete what is listed")
    parser.add_argument("--json", action="store_true", help="print one JSON record per folder")


def run(arguments: Namespace) -> int:
    """List superseded runs, caches, and checkpoints of finished runs; --yes deletes them.

    In the user's cache folder, indices of data that have changed are listed too.
    """
    values = parse_overrides(arguments.overrides, {"store": TEXT})
    unknown_keys = set(values) - {"store"}
    if unknown_keys:
        raise UserError(f"gc works on a whole store: leave out {sorted(unknown_keys)[0]}=")
    store = Store(str(values.get("store", "store")))
    if not any((store.root / name).is_dir() for name in ("runs", "sweeps")):
        raise UserError(f"store={store.root} is not a store: it holds neither runs nor sweeps")
    folders = [p for p in (store.root / "superseded", store.cache_path) if p.is_dir()]
    for run_folder in store.iter_runs():
        if run_folder.is_readable() and run_folder.read_outcome() is not None:
            folders += _list_checkpoint_folders(run_folder)
    folders += list_outdated_folders()
    sizes = {folder: _measure_size(folder) for folder in folders}
    for folder, num_bytes in sizes.items():
        if not arguments.json:
            label = "deleted" if arguments.yes else "can be deleted"
            print(f"{label}: {folder} ({num_bytes / 1e6:.1f} MB)")
        if arguments.yes:
            shutil.rmtree(folder)
    if arguments.json:
        print_json(
            [
                {"folder": str(folder), "bytes": num_bytes, "is_deleted": arguments.yes}
                for folder, num_bytes in sizes.items()
            ]
        )
        return 0
    hint = "" if arguments.yes or not folders else "; gc --yes deletes it"
    print(f"{sum(sizes.values()) / 1e6:.1f} MB in {len(folders)} folders{hint}")
    if (exports_path := store.root / "exports").is_dir():
        num_bytes = _measure_size(exports_path)
        print(f"{exports_path} ({num_bytes / 1e6:.1f} MB) is left: `export` writes it again")
    return 0


def _measure_size(folder: Path) -> int:
    """Return the bytes of the files in a folder."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _list_checkpoint_folders(run_folder: RunFolder) -> list[Path]:
    """Return the checkpoint folders of a run's attempts that are not empty."""
    folders = [run_folder.get_attempt(n).checkpoints_path for n in run_folder.list_attempts()]
    return [f for f in folders if f.is_dir() and any(f.iterdir())]
