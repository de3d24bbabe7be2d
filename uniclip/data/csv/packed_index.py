"""The index of large tables, whose rows are read once and whose images are not looked up.

It is kept in the user's cache folder under a digest of the tables' content and of what the
configuration says of them; all processes of a machine share it.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

from uniclip.config import CsvData, TextConfig
from uniclip.data.csv.columns import TableColumns, TableRequest, find_columns
from uniclip.data.csv.content import digest_table
from uniclip.data.csv.faults import RowFault, check_faults
from uniclip.data.csv.index_writer import IndexContent, write_index
from uniclip.data.csv.packed_split import ImagePaths, PackedSplit, SplitSizes
from uniclip.data.csv.split_rule import SplitRule
from uniclip.data.csv.summary import RowSummary
from uniclip.data.split import SPLIT_NAMES, SplitName
from uniclip.data.text.truncation import TruncationCounts, count_truncated_sample, thin_out
from uniclip.errors import CHANGED_DATA_ADVICE, DataChangedError, UserError
from uniclip.io.atomic import atomic_write, resolve_staged_path
from uniclip.io.file_digests import read_signature
from uniclip.io.hashing import digest
from uniclip.io.memo import get_cache_folder
from uniclip.io.published_folder import get_or_publish
from uniclip.io.source_record import read_facts, write_sources

VERSION = 1
"""Raised when the same tables get another index."""
FOLDER = "tables"
"""Folder of all indices inside the cache folder."""
CONTENT_FILE = "index.json"


@dataclass(frozen=True)
class PackedIndex:
    """All rows of a data source's tables."""

    config: CsvData
    folder: Path
    content: IndexContent
    tables: tuple[TableColumns, ...]
    """How the table was read, and the test table."""
    are_looked_up: bool = False
    """Whether the images were looked up (`rows.CsvIndex`)."""

    @cached_property
    def summary(self) -> RowSummary:
        """What a plan says of the rows."""
        counts: Counter[SplitName] = Counter()
        for name in SPLIT_NAMES:
            counts[name] = self.content.splits[name].num_samples
        return RowSummary(
            split_counts=counts,
            label_counts=Counter(dict(self.content.label_counts)),
            same_images=[tuple(names) for names in self.content.same_images],
            skipped_rows=self.content.faults,
        )

    def get_split(self, row: RowFault) -> SplitName:
        """Return the split of a row that cannot be used."""
        return SplitRule.from_config(self.config).get_split(row)

    def open_split(self, name: SplitName) -> PackedSplit:
        """Return the samples of a split."""
        return PackedSplit(self.folder / name, self.content.splits[name])

    def name_table(self, split_name: SplitName) -> str:
        """Return the table that lists a split."""
        is_test_table = split_name == "test" and bool(self.config.test_path)
        return self.config.test_path if is_test_table else self.config.path

    def locate_images(self, split_name: SplitName) -> ImagePaths:
        """Return the image files of a split, or their copies on this node."""
        folder = resolve_staged_path(str(Path(self.name_table(split_name)).parent))
        return ImagePaths(folder, self.open_split(split_name).paths)

    def count_truncated(self, text_config: TextConfig) -> TruncationCounts:
        """Return how many captions are cut to the context of a text encoder."""
        training_captions = thin_out(self.open_split("train").captions)
        return count_truncated_sample(
            text_config,
            list(training_captions),
            self.content.distinct_captions,
            self.content.num_distinct_captions,
        )

    def choose_evenly(self, num_samples: int) -> tuple[list[str], bool]:
        """Return the images of so many samples, evenly chosen, and whether they are all."""
        step = max(1, self.summary.num_samples // num_samples)
        chosen = [
            images[i]
            for images in map(self.locate_images, SPLIT_NAMES)
            for i in range(0, len(images), step)
        ]
        return chosen[:num_samples], self.summary.num_samples <= num_samples


def open_index(config: CsvData) -> PackedIndex:
    """Return the index of the tables of a configuration; it is written if there is none.

    Raises:
        UserError: A table cannot be read, rows contradict each other, more training rows than
            allowed cannot be used, or a validation or test row cannot be used.
        DataChangedError: A table was changed while it was read.
    """
    paths = [path for path in (config.path, config.test_path) if path]
    requests = [TableRequest.from_config(config, p, is_test=i > 0) for i, p in enumerate(paths)]
    tables = tuple(map(find_columns, requests))
    signatures = [_read_signature(path) for path in paths]
    folder = _name_folder(config, paths)
    get_or_publish(folder, partial(_write, config, paths, signatures), _is_whole)
    index = PackedIndex(config, folder, _recall_content(folder), tables)
    num_training = index.summary.split_counts["train"]
    check_faults(config, index.content.faults, index.get_split, num_training)
    return index


def _name_folder(config: CsvData, paths: list[str]) -> Path:
    content: list[Any] = [
        *(VERSION, config.separator_character, config.image_column, config.caption_column),
        *(config.label_column, config.split_column),
        *(config.validation_fraction, config.test_fraction),
        *([os.path.abspath(path), digest_table(path)] for path in paths),
    ]
    return get_cache_folder() / FOLDER / digest(content, 32)


def _write(
    config: CsvData, paths: list[str], signatures: list[tuple[int, ...]], folder: Path
) -> None:
    gigabytes = sum(signature[2] for signature in signatures) / 1e9
    print(
        f"reading {' and '.join(paths)} ({gigabytes:.2g} GB; once, kept in {get_cache_folder()})",
        file=sys.stderr,
        flush=True,
    )
    content = write_index(config, folder)
    if [_read_signature(path) for path in paths] != signatures:
        raise DataChangedError(
            f"{config.path} was changed while it was read; {CHANGED_DATA_ADVICE}"
        )
    tables = [[os.path.abspath(path), digest_table(path)] for path in paths]
    write_sources(folder, VERSION, (), {"tables": tables})
    atomic_write(folder / CONTENT_FILE, json.dumps(asdict(content)).encode())


def has_other_facts(index_folder: Path) -> bool:
    """Return whether a table has another content than when an index was written, or was removed.

    One whose folder is gone too may be on a disk that is not mounted.
    """
    try:
        tables = read_facts(index_folder)["tables"]
        return any(_has_changed(str(path), dict(content)) for path, content in tables)
    except (UserError, OSError, LookupError, TypeError, ValueError):
        return False  # unknown


def _has_changed(path: str, content: dict[str, object]) -> bool:
    if not os.path.exists(path):
        return os.path.isdir(os.path.dirname(path))
    return os.path.getsize(path) != content["bytes"] or digest_table(path) != content


def _read_signature(path: str) -> tuple[int, ...]:
    return read_signature(Path(path).expanduser())


def _is_whole(folder: Path) -> bool:
    """Return whether the files of an index are there, complete and of the stated lengths."""
    try:
        content = _read_content(folder)
        return all(
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
    label_counts = [(name, count) for name, count in values["label_counts"]]
    faults = [RowFault(**fault) for fault in values["faults"]]
    changes = {"splits": splits, "label_counts": label_counts, "faults": faults}
    return IndexContent(**{**values, **changes})


_recall_content = lru_cache(maxsize=4)(_read_content)
"""The content of the indices that this process opened last."""
