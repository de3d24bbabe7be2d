"""Writing of the index of large tables: rows are read once, and sorted into samples and splits.

Two passes over files take the place of a dictionary of all images: the rows are written as they are
read, then those of each split are copied. Keys of 64 bits tell images apart, as their ids do.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uniclip.config import CsvData
from uniclip.data.csv.columns import TableColumns, TableRequest, find_columns
from uniclip.data.csv.contradictions import check_agreement, check_test_table, make_overlap_error
from uniclip.data.csv.faults import RowFault
from uniclip.data.csv.packed_split import SplitSizes, choose_ends_dtype
from uniclip.data.csv.row_arrays import (
    NUM_BUFFERED,
    RowArrays,
    Rows,
    RowWriter,
    SampleRows,
    TextWriter,
    group_rows,
)
from uniclip.data.csv.rows import (
    CsvSample,
    iterate_usable_rows,
    require_samples,
)
from uniclip.data.csv.split_rule import SplitRule
from uniclip.data.split import SPLIT_NAMES, SplitName
from uniclip.data.text.truncation import thin_out
from uniclip.io.array_file import ArrayWriter
from uniclip.rng import hash_sample_id

UNDECLARED = -1
"""Number of the split of a sample that declares none."""
SPLIT_NUMBERS: dict[SplitName | None, int] = {
    None: UNDECLARED,
    **{name: i for i, name in enumerate(SPLIT_NAMES)},
}


@dataclass(kw_only=True)
class IndexContent:
    """What is known of the samples beside the arrays, as plain JSON."""

    splits: dict[str, SplitSizes]
    class_names: list[str]
    label_counts: list[tuple[str | None, int]]
    """Class (None = none) -> samples of all splits."""
    same_images: list[list[str]]
    faults: list[RowFault]
    num_distinct_captions: int
    distinct_captions: list[str]
    """Some of them, evenly chosen."""


def write_index(config: CsvData, folder: Path) -> IndexContent:
    """Write the samples of tables into a new folder, one folder for each split.

    Raises:
        UserError: A table cannot be read, rows contradict each other, or images of the test table
            are in the other one.
    """
    tables = _Tables(config)
    with RowWriter(folder / "rows") as writer:
        tables.read(writer)
    rows = RowArrays(folder / "rows")
    tables.check_overlap(rows)
    samples = group_rows(rows.get("file_keys"), rows.get("caption_keys"))
    tables.check_agreement(rows, samples)
    declared = np.array(rows.get("splits"))[samples.first]
    if tables.holds_out_validation:
        is_training = declared == SPLIT_NUMBERS["train"]
        declared[is_training & (rows.get("tables")[samples.first] == 0)] = UNDECLARED
    ids, splits = _assign_splits(rows, samples, declared, SplitRule.from_config(config))
    labels, class_names = number_labels(rows, samples, tables.labels)
    sizes: dict[str, SplitSizes] = {
        name: write_split(folder / name, rows, samples, splits == SPLIT_NUMBERS[name], ids, labels)
        for name in SPLIT_NAMES
    }
    num_distinct, distinct = choose_distinct_captions(rows, samples)
    content = IndexContent(
        splits=sizes,
        class_names=class_names,
        label_counts=_count_labels(rows, samples, tables.labels),
        same_images=_list_same_images(rows, samples),
        faults=tables.faults,
        num_distinct_captions=num_distinct,
        distinct_captions=distinct,
    )
    rows.remove()
    return content


@dataclass
class _Tables:
    """The tables of a configuration while they are read."""

    config: CsvData
    columns: list[TableColumns] = field(default_factory=list)
    faults: list[RowFault] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    """Class -> its number, in the order in which they come."""
    holds_out_validation: bool = False
    """Whether declared training samples are divided, since no row declares validation."""

    def read(self, writer: RowWriter) -> None:
        """Write the usable rows of all tables."""
        declared = self._read_table(TableRequest.from_config(self.config, self.config.path), writer)
        if self.config.test_path:
            check_test_table(self.config, "test" in declared)
            request = TableRequest.from_config(self.config, self.config.test_path, is_test=True)
            self._read_table(request, writer, "test")
        if self.config.split_column is not None and "validation" not in declared:
            self.holds_out_validation = True
            self.faults = [
                replace(f, declared_split=None)
                if f.declared_split == "train" and f.table_path == self.config.path
                else f
                for f in self.faults
            ]

    def _read_table(
        self, request: TableRequest, writer: RowWriter, default_split: SplitName | None = None
    ) -> set[SplitName | None]:
        """Write the rows of a table; return the splits that they declare."""
        table_number, num_rows = len(self.columns), 0
        columns, faults = find_columns(request), list[RowFault]()
        self.columns.append(columns)
        declared: set[SplitName | None] = set()
        for row in iterate_usable_rows(columns, faults, default_split, look_up=False):
            label = -1
            if row.label is not None:
                label = self.labels.setdefault(row.label, len(self.labels))
            writer.add(
                row.path,
                row.captions[0],
                row.file_key,
                lines=row.line,
                tables=table_number,
                labels=label,
                splits=SPLIT_NUMBERS[row.declared_split],
            )
            declared.add(row.declared_split)
            num_rows += 1
        require_samples(request.path, num_rows, faults)
        self.faults += faults
        return declared

    def check_overlap(self, rows: RowArrays) -> None:
        """Raise `UserError` if a test image is a training or validation image too."""
        if len(self.columns) < 2:
            return
        is_test, keys = rows.get("tables") == 1, rows.get("file_keys")
        test_keys = np.unique(keys[is_test])
        common = np.intersect1d(test_keys, keys[~is_test])
        if len(common):
            test_row = int(np.flatnonzero(is_test & np.isin(keys, common))[0])
            row = int(np.flatnonzero(~is_test & (keys == keys[test_row]))[0])
            test_sample, sample = (self._make_sample(rows, i) for i in (test_row, row))
            raise make_overlap_error(len(common), len(test_keys), test_sample, sample)

    def check_agreement(self, rows: RowArrays, samples: SampleRows) -> None:
        """Raise `UserError` unless all rows of an image have one label and one split."""
        first = samples.first[samples.sample_by_row]
        labels, splits = rows.get("labels"), rows.get("splits")
        differs = (labels != labels[first]) | (splits != splits[first])
        if differs.any():
            row = int(differs.argmax())
            columns = self.columns[int(rows.get("tables")[row])]
            first_sample, sample = (self._make_sample(rows, i) for i in (int(first[row]), row))
            check_agreement(columns, first_sample, sample)

    def _make_sample(self, rows: RowArrays, row: int) -> CsvSample:
        names: dict[int, SplitName | None] = {n: name for name, n in SPLIT_NUMBERS.items()}
        return CsvSample(
            line=int(rows.get("lines")[row]),
            path=rows.paths[row],
            label=[*self.labels, None][int(rows.get("labels")[row])],
            table_path=self.columns[int(rows.get("tables")[row])].table.path,
            declared_split=names[int(rows.get("splits")[row])],
        )


def _assign_splits(
    rows: RowArrays, samples: SampleRows, declared: NDArray[np.int8], rule: SplitRule
) -> tuple[NDArray[np.uint64], NDArray[np.int8]]:
    """Return the id and the number of the split of each sample."""
    ids = np.empty(len(samples.first), np.uint64)
    splits = declared.copy()
    for start in range(0, len(ids), NUM_BUFFERED):
        chunk = slice(start, start + NUM_BUFFERED)
        paths = [rows.paths[row] for row in samples.first[chunk].tolist()]
        ids[chunk] = [hash_sample_id(f"csv/{path}") for path in paths]
        splits[chunk] = [
            SPLIT_NUMBERS[rule.assign(path)] if number == UNDECLARED else number
            for path, number in zip(paths, declared[chunk].tolist())
        ]
    return ids, splits


def number_labels(
    rows: RowArrays, samples: SampleRows, labels: dict[str, int]
) -> tuple[NDArray[np.int64] | None, list[str]]:
    """Return the class of each sample, -1 for none, and the names of classes, sorted."""
    if not labels:
        return None, []
    class_names = sorted(labels)
    numbers = np.full(len(labels) + 1, -1, np.int64)  # the last one is that of no class
    for number, name in enumerate(class_names):
        numbers[labels[name]] = number
    return numbers[rows.get("labels")[samples.first]], class_names


def _count_labels(
    rows: RowArrays, samples: SampleRows, labels: dict[str, int]
) -> list[tuple[str | None, int]]:
    counts = np.bincount(rows.get("labels")[samples.first] + 1, minlength=len(labels) + 1)
    return [(name, n) for name, n in zip((None, *labels), counts.tolist()) if n]


def _list_same_images(rows: RowArrays, samples: SampleRows) -> list[list[str]]:
    """Return the paths of each image that has several, in the order of their rows."""
    path_keys = rows.get("path_keys")
    others = np.flatnonzero(path_keys != path_keys[samples.first[samples.sample_by_row]])
    names: dict[int, dict[str, None]] = {}
    for row in others.tolist():
        sample = int(samples.sample_by_row[row])
        paths = names.setdefault(sample, {rows.paths[int(samples.first[sample])]: None})
        paths[rows.paths[row]] = None
    return [list(names[sample]) for sample in sorted(names)]


def choose_distinct_captions(rows: RowArrays, samples: SampleRows) -> tuple[int, list[str]]:
    """Return the number of distinct captions, and some of them."""
    keys = rows.get("caption_keys")[samples.caption_rows]
    first = np.sort(np.unique(keys, return_index=True)[1])
    chosen = samples.caption_rows[thin_out(first)]
    return len(first), [rows.captions[row] for row in chosen.tolist()]


def write_split(
    folder: Path,
    rows: RowArrays,
    samples: SampleRows,
    is_chosen: NDArray[np.bool_],
    ids: NDArray[np.uint64],
    labels: NDArray[np.int64] | None,
) -> SplitSizes:
    """Write the arrays of a split."""
    folder.mkdir()
    first = samples.first[is_chosen]
    sample_by_caption = samples.sample_by_row[samples.caption_rows]
    caption_rows = samples.caption_rows[is_chosen[sample_by_caption]]
    arrays: dict[str, NDArray[Any]] = {"ids": ids[is_chosen], "lines": rows.get("lines")[first]}
    if labels is not None:
        arrays["labels"] = labels[is_chosen]
    if len(caption_rows) > len(first):
        arrays["caption_stops"] = np.cumsum(samples.count_captions()[is_chosen])
    sizes = SplitSizes(
        num_samples=len(first),
        num_captions=len(caption_rows),
        path_bytes=_count_bytes(rows.paths.ends, first),
        caption_bytes=_count_bytes(rows.captions.ends, caption_rows),
    )
    dtypes = sizes.list_arrays(has_labels=labels is not None)
    with ExitStack() as stack:
        for name, values in arrays.items():
            path = folder / f"{name}.npy"
            stack.enter_context(ArrayWriter(path, dtypes[name][0])).append(values)
        paths = TextWriter(stack, folder, "paths", choose_ends_dtype(sizes.path_bytes))
        paths.copy(rows.paths, first)
        captions = TextWriter(stack, folder, "captions", choose_ends_dtype(sizes.caption_bytes))
        captions.copy(rows.captions, caption_rows)
    return sizes


def _count_bytes(ends: NDArray[Any], rows: Rows) -> int:
    """Return the bytes of texts together."""
    return int(np.diff(ends, prepend=0)[rows].sum())
