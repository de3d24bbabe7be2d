"""Writing of the index of a data set: its rows are read once, and sorted into samples and splits.

The samples of a split are kept as those of a large table are (`uniclip.data.csv.packed_split`), and
beside them where the image of each row is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.config import HuggingfaceData
from uniclip.config.sample_filter import MissingFieldError, SampleFilter
from uniclip.data.csv.index_writer import (
    SPLIT_NUMBERS,
    UNDECLARED,
    choose_distinct_captions,
    number_labels,
    write_split,
)
from uniclip.data.csv.packed_split import SplitSizes
from uniclip.data.csv.row_arrays import RowArrays, RowWriter, iterate_slices
from uniclip.data.csv.rows import is_blank
from uniclip.data.csv.sample_rows import SampleRows, group_rows, take
from uniclip.data.huggingface.arrow_files import RowGroup, iterate_groups
from uniclip.data.huggingface.columns import DataColumns, require_same_types
from uniclip.data.huggingface.folder import DataFile, DataFolder
from uniclip.data.split import SPLIT_NAMES, SplitName
from uniclip.data.webdataset.scan import add_caption_fields
from uniclip.errors import UserError
from uniclip.io.array_file import ArrayWriter
from uniclip.io.hashing import hash_sample_id

UNUSED = len(SPLIT_NAMES)
"""Number of the split of samples that are held out beyond `data.max_held_out`."""
PLACES: dict[str, type] = {"starts": np.uint64, "lengths": np.uint32}
"""Name of an array -> type; an element for each row, used or not (`RowGroup`)."""
GROUPS = "group_rows"
"""Name of the array of the first row of each group, and of the number of rows."""
MAX_NAMED = 100
"""Rows that cannot be used and are named; the others are counted."""
HELD_OUT: tuple[SplitName, ...] = ("test", "validation")
"""The splits that are held out, in the order of the hashes."""
HASH_RANGE = 2**32
"""Number of values of a hash that decides on the split."""


@dataclass(kw_only=True)
class IndexContent:
    """What is known of the samples beside the arrays, as plain JSON."""

    image: str
    """Column of the images, or "<column>.bytes"."""
    splits: dict[str, SplitSizes]
    class_names: list[str]
    first_rows: list[int]
    """Number of the first row of each file, and of all rows."""
    counts: dict[str, int]
    """Reason -> rows that cannot be used."""
    named: list[str]
    """Some of them."""
    num_filtered: int
    """Training rows that do not fulfil `data.where`."""
    missing_fields: dict[str, int]
    """Field that `data.where` reads -> training rows in which it cannot be compared."""
    num_unused: int
    """Samples that are held out beyond `data.max_held_out`."""
    num_repeated: int
    """Samples whose image has the name of another one."""
    num_distinct_captions: int
    distinct_captions: list[str]
    """Some of them, evenly chosen."""

    @property
    def num_samples(self) -> int:
        """Samples of all splits."""
        return sum(sizes.num_samples for sizes in self.splits.values())

    @property
    def num_broken(self) -> int:
        """Rows that cannot be used."""
        return sum(self.counts.values())


def write_index(
    config: HuggingfaceData, data_folder: DataFolder, columns: DataColumns, folder: Path
) -> IndexContent:
    """Write the samples of a data set into a new folder, one folder for each split.

    Raises:
        UserError: A file cannot be read, rows of one image contradict each other, or no row can be
            used.
    """
    reader = _RowReader(config, columns, data_folder.declared_splits)
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(ArrayWriter(folder / f"{name}.npy", dtype))
            for name, dtype in PLACES.items()
        }
        groups = stack.enter_context(ArrayWriter(folder / f"{GROUPS}.npy", np.int64))
        row_writer = stack.enter_context(RowWriter(folder / "rows"))
        for file in data_folder.files:
            require_same_types(file, columns)
            for group in iterate_groups(file, columns.image, columns.list_values()):
                groups.append(np.array([reader.num_rows]))
                writers["starts"].append(group.starts)
                writers["lengths"].append(group.lengths)
                reader.add_group(file, group, row_writer)
            reader.finish_file()
        groups.append(np.array([reader.num_rows]))
    reader.require_rows()
    rows = RowArrays(folder / "rows")
    samples = group_rows(rows.get("file_keys"), rows.get("caption_keys"))
    _check_labels(config, rows, samples)
    num_distinct, distinct = choose_distinct_captions(rows, samples)
    ids, splits = _assign_splits(config, data_folder, rows, samples)
    labels, class_names = number_labels(rows, samples, reader.labels)
    sizes = {
        name: write_split(folder / name, rows, samples, splits == SPLIT_NUMBERS[name], ids, labels)
        for name in SPLIT_NAMES
    }
    content = IndexContent(
        image=columns.image,
        splits={str(name): split_sizes for name, split_sizes in sizes.items()},
        class_names=class_names,
        first_rows=reader.first_rows,
        counts=dict(reader.counts),
        named=reader.named,
        num_filtered=reader.num_filtered,
        missing_fields=dict(reader.missing_fields),
        num_unused=int((splits == UNUSED).sum()),
        num_repeated=len(ids) - len(np.unique(ids)),
        num_distinct_captions=num_distinct,
        distinct_captions=distinct,
    )
    rows.remove()
    return content


@dataclass
class _RowReader:
    """Decides which rows can be used, and counts the others.

    `data.where` selects among the rows of training samples only.
    """

    config: HuggingfaceData
    columns: DataColumns
    declared_splits: frozenset[SplitName]
    """The splits that the data set states."""
    num_rows: int = 0
    first_rows: list[int] = field(default_factory=lambda: [0])
    labels: dict[str, int] = field(default_factory=dict)
    """Class -> its number, in the order in which they come."""
    counts: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)
    num_filtered: int = 0
    num_accepted: int = 0
    """Training rows that fulfil `data.where`."""
    missing_fields: Counter[str] = field(default_factory=Counter)
    rows_per_split: Counter[SplitName | None] = field(default_factory=Counter)
    """Split -> its rows so far."""

    def __post_init__(self) -> None:
        where = self.config.where
        self._filter = None if where is None else SampleFilter(where)
        self._bounds = _find_bounds(self.config, self.declared_splits)

    def add_group(self, file: DataFile, group: RowGroup, writer: RowWriter) -> None:
        """Write the usable rows of a group."""
        for i in range(len(group)):
            self._add_row(file, group, i, writer)
            self.num_rows += 1
            self.rows_per_split[file.split] += 1

    def finish_file(self) -> None:
        """Note that the next row is in another file."""
        self.first_rows.append(self.num_rows)

    def _add_row(self, file: DataFile, group: RowGroup, i: int, writer: RowWriter) -> None:
        columns = self.columns
        values = {name: column[i] for name, column in group.values.items()}
        label = self._name_label(values)
        captions = list(self._make_captions(values, label))
        if not group.has_image[i]:
            return self._skip(file, "no image")
        if not captions:
            return self._skip(file, "no caption" if columns.caption else "no class")
        key = values[columns.key] if columns.key is not None else group.image_paths[i]
        if columns.key is not None and (key is None or key == ""):
            return self._skip(file, f"column {columns.key!r} is empty")
        row_number = self.rows_per_split[file.split]
        name = str(key) if key is not None else f"{file.split or 'row'}/{row_number:09d}"
        label_number = -1 if label is None else self.labels.setdefault(label, len(self.labels))
        if not self._accepts(values, captions[0], file, name):
            return None
        file_key = f"{file.split}/{name}" if columns.key is not None else str(self.num_rows)
        for caption in captions:
            writer.add(
                name,
                caption,
                file_key,
                lines=self.num_rows,
                tables=0,
                labels=label_number,
                splits=SPLIT_NUMBERS[file.split],
            )
        return None

    def _name_label(self, values: dict[str, Any]) -> str | None:
        """Return the name of the class of a row; None for none."""
        value = None if self.columns.label is None else values[self.columns.label]
        names = self.columns.label_names
        if value is None or value != value or (isinstance(value, int) and value < 0):
            return None  # none, not a number, or unlabelled
        if names and isinstance(value, int):
            return names[value] if value < len(names) else None
        return str(value).strip() or None

    def _make_captions(self, values: dict[str, Any], label: str | None) -> Iterator[str]:
        """Yield the captions of a row that are not blank."""
        if self.columns.caption is None:
            if label is not None:
                yield from (t.replace("{}", label) for t in self.config.label_templates)
            return
        value = values[self.columns.caption]
        for text in value if isinstance(value, list) else [value]:
            if text is not None and not is_blank(text):
                yield text.strip()

    def _accepts(self, values: dict[str, Any], caption: str, file: DataFile, name: str) -> bool:
        """Return whether a row is used: one that is trained on must fulfil `data.where`."""
        if self._filter is None or self._is_held_out(file, name):
            return True
        fields = {name: values[name] for name in self.columns.fields}
        add_caption_fields(fields, caption)
        try:
            accepted = self._filter.accepts(fields)
        except MissingFieldError as error:
            self.missing_fields[str(error)] += 1
            return False
        self.num_accepted += accepted
        self.num_filtered += not accepted
        return accepted

    def _is_held_out(self, file: DataFile, name: str) -> bool:
        """Return whether the sample of a row is for validation or testing."""
        if file.split not in (None, "train"):
            return True
        position = _hash_name(name)
        return any(start <= position < stop for start, stop in self._bounds.values())

    def _skip(self, file: DataFile, reason: str) -> None:
        """Count a row that cannot be used, and name it."""
        self.counts[reason] += 1
        if len(self.named) < MAX_NAMED:
            row = self.num_rows - self.first_rows[-1] + 1
            self.named.append(f"{file.path} row {row}: {reason}")

    def require_rows(self) -> None:
        """Raise `UserError` if no row can be used, or none fulfils `data.where`."""
        num_left_out = self.num_filtered + self.missing_fields.total()
        if num_left_out and not self.num_accepted:
            counts = [f"{n} without a {name}" for name, n in self.missing_fields.items()]
            missing = f" ({', '.join(counts)} that can be compared)" if counts else ""
            raise UserError(
                f"data.where={self.config.where!r} leaves none of {num_left_out} training rows of "
                f"{self.config.path}{missing}; relax it"
            )
        if self.counts.total() < self.num_rows:
            return
        listed = "; ".join(self.named[:3]) or "it has no rows"
        raise UserError(f"{self.config.path} has no row that can be used ({listed})")


def _check_labels(config: HuggingfaceData, rows: RowArrays, samples: SampleRows) -> None:
    """Raise `UserError` unless all rows of an image have one class."""
    labels = rows.get("labels")
    for s in iterate_slices(len(labels)):
        differs = labels[s] != labels[samples.first[samples.sample_by_row[s]]]
        if differs.any():
            name = rows.paths[s.start + int(differs.argmax())]
            raise UserError(
                f"{config.path}: rows of {name} (data.key_column={config.key_column}) differ in "
                f"column {config.label_column!r}; give each image one class, or leave "
                "data.key_column out"
            )


def _assign_splits(
    config: HuggingfaceData, data_folder: DataFolder, rows: RowArrays, samples: SampleRows
) -> tuple[NDArray[np.uint64], NDArray[np.int8]]:
    """Return the id and the number of the split of each sample.

    The splits that the data set does not state are held out of its training samples.
    """
    ids, positions = _hash_names(rows, samples)
    splits = take(rows.get("splits"), samples.first)
    splits[splits == UNDECLARED] = SPLIT_NUMBERS["train"]
    is_training = splits == SPLIT_NUMBERS["train"]
    for name, (start, stop) in _find_bounds(config, data_folder.declared_splits).items():
        is_held_out = is_training & (positions >= start) & (positions < stop)
        splits[is_held_out] = SPLIT_NUMBERS[name]
    for name in HELD_OUT:
        held_out = np.flatnonzero(splits == SPLIT_NUMBERS[name])
        order = np.argsort(positions[held_out], kind="stable")
        splits[held_out[order[config.max_held_out :]]] = UNUSED
    return ids, splits


def _find_bounds(
    config: HuggingfaceData, declared_splits: frozenset[SplitName]
) -> dict[SplitName, tuple[int, int]]:
    """Return split -> the hashes of names, from and up to, of the training samples held out for it.

    A split that the data set states has none.
    """
    fractions = {"test": config.test_fraction, "validation": config.validation_fraction}
    bounds: dict[SplitName, tuple[int, int]] = {}
    start = 0.0
    for name in HELD_OUT:
        if name not in declared_splits:
            stop = start + fractions[name] * HASH_RANGE
            bounds[name] = math.ceil(start), math.ceil(stop)
            start = stop
    return bounds


def _hash_name(name: str) -> int:
    """Return the hash in `HASH_RANGE` that decides on the split of a sample."""
    return hash_sample_id(f"split/csv/{name}") >> 32


def _hash_names(
    rows: RowArrays, samples: SampleRows
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the id of each sample, and a hash in `HASH_RANGE` that decides on its split."""
    ids, positions = (np.empty(len(samples.first), np.uint64) for _ in range(2))
    for s in iterate_slices(len(ids)):
        names = rows.paths.read(samples.first[s])
        ids[s] = [hash_sample_id(f"csv/{name}") for name in names]
        positions[s] = [_hash_name(name) for name in names]
    return ids, positions
