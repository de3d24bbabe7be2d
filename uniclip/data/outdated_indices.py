"""Indices in the user's cache folder that can never be used again."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from uniclip.io.memo import get_cache_folder
from uniclip.io.published_folder import is_in_use
from uniclip.io.source_record import RECORD_FILE, is_outdated

MODULES = {
    "shards": "uniclip.data.webdataset.index",
    "tables": "uniclip.data.csv.packed_index",
    "datasets": "uniclip.data.huggingface.index",
}
"""Folder of indices -> the module with their `VERSION`."""


def list_outdated_folders() -> list[Path]:
    """Return the folders of outdated indices, and those of tokens and the like beside them."""
    folders: list[Path] = []
    for name, module_name in MODULES.items():
        try:
            records = sorted((get_cache_folder() / name).glob(f"*/{RECORD_FILE}"))
        except PermissionError:  # the folder of another user
            continue
        if not records:
            continue
        module = import_module(module_name)  # here: it imports numpy
        for index in (record.parent for record in records):
            if _is_outdated(index, module) and not is_in_use(index):
                beside = sorted(path for path in index.parent.glob(f"{index.name}-*"))
                folders += [index, *(path for path in beside if path.is_dir())]
    return folders


def _is_outdated(index: Path, module: ModuleType) -> bool:
    """Return whether the data of an index, or the code that wrote it, are others by now."""
    has_facts = module.__name__ in (MODULES["tables"], MODULES["datasets"])
    return is_outdated(index, module.VERSION) or (has_facts and module.has_other_facts(index))
