"""Reading and checking the rows of a table of images; errors name file, line and column.

One rule holds for rows that cannot be used, since the caption or the path is empty or the image
missing: of the training rows up to `data.max_broken` are skipped, and counted; any other one is an
error, which lists them all.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from uniclip.config import CsvData, TextConfig
from uniclip.data.csv.columns import TableColumns, TableRequest, find_columns
from uniclip.data.csv.contradictions import check_agreement, check_overlap, check_test_table
from uniclip.data.csv.faults import RowFault, check_faults, check_held_out_faults
from uniclip.data.csv.split_rule import SplitRule, parse_split
from uniclip.data.csv.summary import RowSummary
from uniclip.data.csv.table import iterate_rows
from uniclip.data.split import SplitName
from uniclip.data.text.truncation import TruncationCounts, count_truncated
from uniclip.errors import UserError
from uniclip.io.atomic import resolve_staged_path
from uniclip.io.file_digests import is_settled, read_signature

MAX_LOOKED_UP_BYTES = 2**25
"""Size of the tables up to which all images are looked up: some 300,000 rows."""


@dataclass(slots=True)
class CsvSample:
    """One image with the captions and the label of its rows."""

    line: int
    """Line of its first row in the file."""
    path: str
    captions: list[str] = field(default_factory=list)
    label: str | None = None
    file_size: int = 0
    """Size of the image file, in bytes."""
    table_path: str = ""
    """The table that lists it; `path` is relative to its folder."""
    declared_split: SplitName | None = None
    """The split that the table declares; None = by a hash of the path (`SplitRule`)."""
    file_key: str = ""
    """Equal for all names of one file."""
    other_names: tuple[str, ...] = ()
    """Other paths under which the table lists it."""


@dataclass(frozen=True)
class CsvIndex:
    """All rows of a data source's tables."""

    samples: list[CsvSample]
    """In the order of the files, those of the test table last."""
    split_rule: SplitRule
    skipped_rows: list[RowFault]
    """Training rows that cannot be used."""
    tables: tuple[TableColumns, ...]
    """How the table was read, and the test table."""
    are_looked_up: bool = True
    """Whether the images were looked up: missing ones are skipped, and several names of one file
    are one image. Else missing ones cannot be read, and equal paths alone are one image."""

    def get_split(self, row: CsvSample | RowFault) -> SplitName:
        """Return the split of a row; of one that names no image, training."""
        return self.split_rule.get_split(row)

    @cached_property
    def summary(self) -> RowSummary:
        """What a plan says of the rows."""
        return RowSummary(
            split_counts=Counter(self.get_split(sample) for sample in self.samples),
            label_counts=Counter(sample.label for sample in self.samples),
            same_images=[(s.path, *s.other_names) for s in self.samples if s.other_names],
            skipped_rows=self.skipped_rows,
        )

    def count_truncated(self, text_config: TextConfig) -> TruncationCounts:
        """Return how many captions are cut to the context of a text encoder."""
        training_samples = [s for s in self.samples if self.get_split(s) == "train"]
        training_captions = list(_iterate_captions(training_samples))
        return count_truncated(text_config, training_captions, _iterate_captions(self.samples))

    def choose_evenly(self, num_samples: int) -> tuple[list[str], bool]:
        """Return the images of so many samples, evenly chosen, and whether they are all."""
        step = max(1, len(self.samples) // num_samples)
        chosen = self.samples[::step][:num_samples]
        return [str(path) for path in locate_images(chosen)], len(chosen) == len(self.samples)


def read_samples(config: CsvData) -> list[CsvSample]:
    """Return the samples in the order of the file; `UserError` names file, line and column."""
    return read_index(config).samples


def read_index(config: CsvData) -> CsvIndex:
    """Return the samples of the table and of the test table, and the rows that are skipped.

    Raises:
        UserError: A table cannot be read, rows contradict each other, more training rows than
            allowed cannot be used, or a validation or test row cannot be used.
    """
    are_looked_up = must_look_up(config)
    table = _read_table(TableRequest.from_config(config, config.path), look_up=are_looked_up)
    tables = [table]
    declared_splits = {sample.declared_split for sample in table.samples}
    if config.test_path:
        check_test_table(config, "test" in declared_splits)
        test_request = TableRequest.from_config(config, config.test_path, is_test=True)
        tables.append(_read_table(test_request, default_split="test", look_up=are_looked_up))
        check_overlap(table.samples, tables[1].samples)
    if config.split_column is not None and "validation" not in declared_splits:
        declared_rows: list[CsvSample | RowFault] = [*table.samples, *table.faults]
        for row in declared_rows:
            if row.declared_split == "train":
                row.declared_split = None  # so that a part becomes the validation split
    index = CsvIndex(
        [sample for t in tables for sample in t.samples],
        SplitRule.from_config(config),
        [fault for t in tables for fault in t.faults],
        tuple(t.columns for t in tables),
        are_looked_up,
    )
    check_faults(config, index.skipped_rows, index.get_split, index.summary.split_counts["train"])
    return index


def recall_index(config: CsvData) -> CsvIndex:
    """Return what `read_index` returns, from memory if the tables are those of the last call.

    For a plan, which asks several times; whether images are missing is not looked up again.
    """
    paths = [Path(path).expanduser() for path in (config.path, config.test_path) if path]
    try:
        signatures = tuple(read_signature(path) for path in paths)
    except OSError:
        return read_index(config)  # which raises the error
    if _last_index.get("key") != (config, signatures) or not all(map(is_settled, signatures)):
        _last_index.update(index=read_index(config), key=(config, signatures))
    index: CsvIndex = _last_index["index"]
    return index


_last_index: dict[str, Any] = {}
"""The last result of `recall_index`, and what it was read from."""


def read_evaluation_samples(path: str) -> list[CsvSample]:
    """Return the samples of an evaluation set: columns have the default names, all rows are test.

    Raises:
        UserError: The table cannot be read, or rows cannot be used; lists them.
    """
    table = _read_table(TableRequest.for_evaluation(path), default_split="test")
    check_held_out_faults(table.faults)
    return table.samples


@dataclass(frozen=True)
class _Table:
    """The rows of one table."""

    columns: TableColumns
    samples: list[CsvSample]
    faults: list[RowFault]


def must_look_up(config: CsvData) -> bool:
    """Return whether the images are looked up: of tables that are not large."""
    return _count_bytes(config) <= MAX_LOOKED_UP_BYTES


def _count_bytes(config: CsvData) -> int:
    """Return the size of the tables; 0 for one that cannot be opened, which is found later."""
    paths = [Path(path).expanduser() for path in (config.path, config.test_path) if path]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _read_table(
    request: TableRequest, default_split: SplitName | None = None, look_up: bool = True
) -> _Table:
    columns = find_columns(request)
    samples: dict[str, CsvSample] = {}
    faults: list[RowFault] = []
    for new_sample in iterate_usable_rows(columns, faults, default_split, look_up=look_up):
        sample = samples.setdefault(new_sample.file_key, new_sample)
        if sample is new_sample:
            continue
        check_agreement(columns, sample, new_sample)
        if new_sample.path != sample.path and new_sample.path not in sample.other_names:
            sample.other_names += (new_sample.path,)
        if new_sample.captions[0] not in sample.captions:
            sample.captions += new_sample.captions
    require_samples(request.path, len(samples), faults)
    return _Table(columns, list(samples.values()), faults)


def iterate_usable_rows(
    columns: TableColumns,
    faults: list[RowFault],
    default_split: SplitName | None,
    *,
    look_up: bool,
) -> Iterator[CsvSample]:
    """Yield each row that can be used, as a sample with one caption.

    Args:
        columns: The columns of the table.
        faults: The other rows are appended.
        default_split: The split of rows that declare none; None = by a hash.
        look_up: Whether the images are looked up.

    Raises:
        UserError: The table cannot be read, or a row declares another word than a split.
    """
    path_of_table = columns.table.path
    folder = str(resolve_staged_path(str(Path(path_of_table).parent)))
    if not look_up:
        folder = os.path.abspath(folder)  # its names are compared with those of other tables
    images: dict[str, tuple[str, int, str]] = {}
    for line, fields in iterate_rows(columns.table):
        texts = {key: fields[position] for key, position in columns.positions.items()}
        split = default_split
        if "split_column" in texts:
            split = parse_split(columns, line, texts["split_column"])
        path, caption = texts["image_column"], texts["caption_column"]
        image = images.get(path) or _find_image(columns, folder, path, look_up)
        if look_up:
            images[path] = image
        file_key, file_size, reason = image
        if is_blank(caption):
            reason = reason or f"column {columns.names['caption_column']!r} is empty"
        if reason:
            faults.append(RowFault(path_of_table, line, path, reason, split))
            continue
        yield CsvSample(
            line=line,
            path=path,
            captions=[caption],
            label=texts.get("label_column") or None,
            file_size=file_size,
            table_path=path_of_table,
            declared_split=split,
            file_key=file_key,
        )


def require_samples(table_path: str, num_samples: int, faults: Sequence[RowFault]) -> None:
    """Raise `UserError` if a table has no sample."""
    if not num_samples:
        detail = f" that can be used ({faults[0].describe()})" if faults else ""
        raise UserError(f"{table_path} has no rows{detail}; add at least one image and caption")


def locate_images(samples: Sequence[CsvSample]) -> list[Path]:
    """Return the image file of each sample, or its copy on this node."""
    folders = {
        table_path: resolve_staged_path(str(Path(table_path).parent))
        for table_path in {sample.table_path for sample in samples}
    }
    return [folders[sample.table_path] / sample.path for sample in samples]


def _iterate_captions(samples: Iterable[CsvSample]) -> Iterator[str]:
    for sample in samples:
        yield from sample.captions


def is_blank(text: str) -> bool:
    """Return whether a text has nothing but spaces and characters that are not seen."""
    return not any(c.isprintable() and not c.isspace() for c in text)


def _find_image(
    columns: TableColumns, folder: str, path: str, look_up: bool
) -> tuple[str, int, str]:
    """Return a key of the image file, its size in bytes, and the reason why it cannot be used.

    Without `look_up` the key is its path, and the size is 0.
    """
    name = columns.names["image_column"]
    if not path:
        return "", 0, f"column {name!r} is empty"
    image_path = os.path.join(folder, path)
    if not look_up:
        return os.path.normpath(image_path), 0, ""
    try:
        status = os.stat(image_path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        status = None
    if status is None or not stat.S_ISREG(status.st_mode):
        return "", 0, f"column {name!r}: there is no image {image_path}"
    # Other spellings of the path, and links, lead to the same file. Size and time of change tell
    # files apart where the file system gives several of them one inode number.
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return ":".join(map(str, identity)), status.st_size, ""
