"""The index of a data set: its samples, read once, and where their images are.

It is kept in the user's cache folder under a digest of the paths, sizes and times of change of the
files, the names of classes, and what the configuration says of them; all processes of a machine
share it.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.config import HuggingfaceData
from uniclip.data.csv.packed_split import PackedSplit, SplitSizes
from uniclip.data.huggingface.columns import find_columns
from uniclip.data.huggingface.embedded_images import EmbeddedImages
from uniclip.data.huggingface.folder import (
    DataFile,
    DataFolder,
    list_files,
    read_class_names,
)
from uniclip.data.huggingface.index_writer import GROUPS, PLACES, IndexContent, write_index
from uniclip.data.split import SPLIT_NAMES, SplitName
from uniclip.errors import CHANGED_DATA_ADVICE, DataChangedError, UserError
from uniclip.io.array_file import has_array, map_array
from uniclip.io.atomic import atomic_write
from uniclip.io.hashing import digest
from uniclip.io.memo import get_cache_folder
from uniclip.io.published_folder import get_or_publish
from uniclip.io.source_record import read_facts, write_sources

VERSION = 3
"""Raised when the same files get another index."""
FILTER_VERSION = 2
"""Raised when `data.where` selects other rows."""
FOLDER = "datasets"
"""Folder of all indices inside the cache folder."""
CONTENT_FILE = "index.json"
KEYS = (
    *("image_column", "caption_column", "label_column", "key_column", "where"),
    *("validation_fraction", "test_fraction", "max_held_out"),
)
"""Keys of the data section that decide what the index holds."""


@dataclass(frozen=True)
class DatasetIndex:
    """All samples of a data set."""

    folder: Path
    data_folder: DataFolder
    content: IndexContent

    def open_split(self, name: SplitName) -> PackedSplit:
        """Return the samples of a split; their `lines` are numbers of rows."""
        return PackedSplit(self.folder / name, self.content.splits[name])

    def open_images(self) -> EmbeddedImages:
        """Return the images of all rows."""
        content = self.content
        return EmbeddedImages(
            self.data_folder.files, content.first_rows, content.image, self.folder
        )

    @cached_property
    def group_rows(self) -> NDArray[np.int64]:
        """(G + 1,) first row of each group of rows, and the number of rows."""
        return map_array(self.folder / f"{GROUPS}.npy")


def find_index(config: HuggingfaceData) -> DatasetIndex | None:
    """Return the index of the files of a data section if it has been written, else None.

    Raises:
        UserError: A file is missing.
    """
    data_folder = list_files(config.path)
    folder = _name_folder(config, data_folder)
    if not _is_whole(folder):
        return None
    return DatasetIndex(folder, data_folder, _recall_content(folder))


def open_index(config: HuggingfaceData) -> DatasetIndex:
    """Return the index of the files of a data section; it is written if there is none.

    Raises:
        UserError: A file cannot be read, or more rows than allowed cannot be used.
        DataChangedError: A file was changed while it was read.
    """
    data_folder = list_files(config.path)
    folder = _name_folder(config, data_folder)
    get_or_publish(folder, partial(_write, config, data_folder, folder), _is_whole)
    index = DatasetIndex(folder, data_folder, _recall_content(folder))
    check_broken(config, index.content)
    return index


def check_broken(config: HuggingfaceData, content: IndexContent) -> None:
    """Raise `UserError` if more rows than allowed cannot be used."""
    num_samples = content.num_samples + content.num_broken
    if content.num_broken > config.count_allowed_broken(num_samples):
        counts = ", ".join(f"{reason}: {number}" for reason, number in content.counts.items())
        raise UserError(
            f"{content.num_broken} of {num_samples} rows of {config.path} cannot be used, more "
            f"than data.max_broken={config.max_broken:g} allows ({counts}): "
            f"{'; '.join(content.named[:3])}; repair them or raise data.max_broken"
        )


def _name_folder(config: HuggingfaceData, data_folder: DataFolder) -> Path:
    keys = [*KEYS, *(["label_templates"] if config.label_column else [])]
    content: list[Any] = [
        VERSION,
        [[file.path, file.split, file.size, file.mtime_ns] for file in data_folder.files],
        [getattr(config, key) for key in keys],
        read_class_names(data_folder.files, config.label_column),
    ]
    if config.where is not None:
        content.append(FILTER_VERSION)
    return get_cache_folder() / FOLDER / digest(content, 32)


def _write(config: HuggingfaceData, data_folder: DataFolder, published: Path, folder: Path) -> None:
    """Write the index that is published as one folder into another one."""
    columns = find_columns(config, data_folder)
    gigabytes = sum(file.size for file in data_folder.files) / 1e9
    print(
        f"reading {config.path} ({gigabytes:.2g} GB, without the images; once, kept in "
        f"{get_cache_folder()})",
        file=sys.stderr,
        flush=True,
    )
    content = write_index(config, data_folder, columns, folder)
    if _name_folder(config, list_files(config.path)) != published:
        raise DataChangedError(
            f"{config.path} was changed while it was read; {CHANGED_DATA_ADVICE}"
        )
    files = [(file.path, file.size, file.mtime_ns) for file in data_folder.files]
    write_sources(folder, VERSION, files, _list_facts(config, data_folder))
    atomic_write(folder / CONTENT_FILE, json.dumps(asdict(content)).encode())


def _list_facts(config: HuggingfaceData, data_folder: DataFolder) -> dict[str, Any]:
    """Return what beside the files decides on the folder of an index: names of classes."""
    if config.label_column is None:
        return {}
    first = data_folder.files[0]
    return {
        "first_file": [first.path, first.name],
        "label_column": config.label_column,
        "class_names": read_class_names(data_folder.files, config.label_column),
    }


def has_other_facts(index_folder: Path) -> bool:
    """Return whether `dataset_info.json` names other classes than when an index was written.

    What else it says, and when it was written, does not count.
    """
    facts = read_facts(index_folder)
    try:
        path, name = map(str, facts["first_file"])
        if not os.path.isfile(path):  # it may be on a disk that is not mounted
            return False
        first_file = DataFile(path, name, None, 0, 0)
        names = read_class_names([first_file], str(facts["label_column"]))
        return list(names) != list(facts["class_names"])
    except (UserError, LookupError, TypeError, ValueError):
        return False  # unknown


def _is_whole(folder: Path) -> bool:
    """Return whether the files of an index are there, complete and of the stated lengths."""
    try:
        content = _read_content(folder)
        has_places = all(
            has_array(folder / f"{name}.npy", dtype, content.first_rows[-1])
            for name, dtype in PLACES.items()
        )
        map_array(folder / f"{GROUPS}.npy")
        return has_places and all(
            PackedSplit(folder / name, content.splits[name]).is_whole(
                has_labels=bool(content.class_names)
            )
            for name in SPLIT_NAMES
        )
    except (OSError, ValueError, TypeError, LookupError):
        return False


def _read_content(folder: Path) -> IndexContent:
    values = json.loads((folder / CONTENT_FILE).read_text(encoding="utf-8"))
    splits = {name: SplitSizes(**sizes) for name, sizes in values["splits"].items()}
    return IndexContent(**{**values, "splits": splits})


_recall_content = lru_cache(maxsize=4)(_read_content)
"""The content of the indices that this process opened last."""
