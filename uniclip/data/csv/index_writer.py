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
from uniclip.data.csv.packed_split import SplitSizes
from uniclip.data.csv.row_arrays import RowArrays, RowWriter, TextWriter, iterate_slices
from uniclip.data.csv.rows import (
    CsvSample,
    iterate_usable_rows,
    require_samples,
)
from uniclip.data.csv.sample_rows import (
    PART_SIZE,
    SampleRows,
    find_distinct,
    find_rows,
    group_rows,
    take,
)
from uniclip.data.csv.split_rule import SplitRule
from uniclip.data.split import SPLIT_NAMES, SplitName
from uniclip.data.text.truncation import thin_out
from uniclip.io.array_file import ArrayWriter
from uniclip.rng import hash_sample_id

SCATTERED_SIZE = 512
"""Texts from all parts of a file that are read at once."""
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
    num_distinct, distinct = choose_distinct_captions(rows, samples)
    declared = take(rows.get("splits"), samples.first)
    if tables.holds_out_validation:
        is_training = declared == SPLIT_NUMBERS["train"]
        declared[is_training & (take(rows.get("tables"), samples.first) == 0)] = UNDECLARED
    ids, splits = _assign_splits(rows, samples, declared, SplitRule.from_config(config))
    labels, class_names = number_labels(rows, samples, tables.labels)
    sizes: dict[str, SplitSizes] = {
        name: write_split(folder / name, rows, samples, splits == SPLIT_NUMBERS[name], ids, labels)
        for name in SPLIT_NAMES
    }
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
        tables, keys = rows.get("tables"), rows.get("file_keys")
        test_keys = np.unique(keys[find_rows(lambda s: tables[s] == 1, len(tables))])
        common = np.unique(
            np.concatenate(
                [
                    np.intersect1d(test_keys, keys[s][tables[s] == 0])
                    for s in iterate_slices(len(keys))
                ]
            )
        )
        if len(common):
            rows_in_both = find_rows(lambda s: np.isin(keys[s], common), len(keys))
            is_test = tables[rows_in_both] == 1
            test_row = int(rows_in_both[is_test][0])
            row = int(rows_in_both[~is_test & (keys[rows_in_both] == keys[test_row])][0])
            test_sample, sample = (self._make_sample(rows, i) for i in (test_row, row))
            raise make_overlap_error(len(common), len(test_keys), test_sample, sample)

    def check_agreement(self, rows: RowArrays, samples: SampleRows) -> None:
        """Raise `UserError` unless all rows of an image have one label and one split."""
        labels, splits = rows.get("labels"), rows.get("splits")
        for s in iterate_slices(len(labels)):
            first = samples.first[samples.sample_by_row[s]]
            differs = (labels[s] != labels[first]) | (splits[s] != splits[first])
            if differs.any():
                row = s.start + int(differs.argmax())
                columns = self.columns[int(rows.get("tables")[row])]
                numbers = (int(first[row - s.start]), row)
                check_agreement(columns, *(self._make_sample(rows, i) for i in numbers))

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
    for s in iterate_slices(len(ids)):
        paths = rows.paths.read(samples.first[s])
        ids[s] = [hash_sample_id(f"csv/{path}") for path in paths]
        splits[s] = [
            SPLIT_NUMBERS[rule.assign(path)] if number == UNDECLARED else number
            for path, number in zip(paths, declared[s].tolist())
        ]
    return ids, splits


def number_labels(
    rows: RowArrays, samples: SampleRows, labels: dict[str, int]
) -> tuple[NDArray[np.int32] | None, list[str]]:
    """Return the class of each sample, -1 for none, and the names of classes, sorted."""
    if not labels:
        return None, []
    class_names = sorted(labels)
    numbers = np.full(len(labels) + 1, -1, np.int32)  # the last one is that of no class
    for number, name in enumerate(class_names):
        numbers[labels[name]] = number
    return take(numbers, take(rows.get("labels"), samples.first)), class_names


def _count_labels(
    rows: RowArrays, samples: SampleRows, labels: dict[str, int]
) -> list[tuple[str | None, int]]:
    counts = np.zeros(len(labels) + 1, np.int64)  # the first one is that of no class
    all_labels = rows.get("labels")
    for s in iterate_slices(len(samples.first)):
        counts += np.bincount(all_labels[samples.first[s]] + 1, minlength=len(counts))
    return [(name, n) for name, n in zip((None, *labels), counts.tolist()) if n]


def _list_same_images(rows: RowArrays, samples: SampleRows) -> list[list[str]]:
    """Return the paths of each image that has several, in the order of their rows."""
    keys, all_paths = rows.get("path_keys"), rows.paths
    others = find_rows(
        lambda s: keys[s] != keys[samples.first[samples.sample_by_row[s]]], len(keys)
    )
    names: dict[int, dict[str, None]] = {}
    for row in others.tolist():
        sample = int(samples.sample_by_row[row])
        paths = names.setdefault(sample, {all_paths[int(samples.first[sample])]: None})
        paths[all_paths[row]] = None
    return [list(names[sample]) for sample in sorted(names)]


def choose_distinct_captions(rows: RowArrays, samples: SampleRows) -> tuple[int, list[str]]:
    """Return the number of distinct captions, and some of them."""
    first = find_distinct(take(rows.get("caption_keys"), samples.caption_rows))
    chosen = samples.caption_rows[thin_out(first)]
    # The system reads some pages around each of them, so that they are not mapped all at once.
    slices = iterate_slices(len(chosen), SCATTERED_SIZE)
    return len(first), [caption for s in slices for caption in rows.captions.read(chosen[s])]


def write_split(
    folder: Path,
    rows: RowArrays,
    samples: SampleRows,
    is_chosen: NDArray[np.bool_],
    ids: NDArray[np.uint64],
    labels: NDArray[np.int32] | None,
) -> SplitSizes:
    """Write the arrays of a split, a part of the samples at a time."""
    folder.mkdir()
    sizes = _measure_split(rows, samples, is_chosen)
    arrays = sizes.list_arrays(has_labels=labels is not None)
    with ExitStack() as stack:
        paths, captions = (
            TextWriter(stack, folder, name, arrays[f"{name}_ends"][0])
            for name in ("paths", "captions")
        )
        writers = {
            name: stack.enter_context(ArrayWriter(folder / f"{name}.npy", dtype))
            for name, (dtype, _) in arrays.items()
            if not name.startswith(("paths", "captions"))
        }
        for part in iterate_slices(len(is_chosen), PART_SIZE):
            first = samples.first[part][is_chosen[part]]
            caption_rows, counts = samples.choose_captions(part, is_chosen[part])
            values: dict[str, NDArray[Any]] = {
                "ids": ids[part][is_chosen[part]],
                "lines": rows.get("lines")[first],
                "caption_stops": captions.length + np.cumsum(counts),
            }
            if labels is not None:
                values["labels"] = labels[part][is_chosen[part]]
            for name, writer in writers.items():
                writer.append(values[name])
            paths.copy(rows.paths, first)
            captions.copy(rows.captions, caption_rows)
    return sizes


def _measure_split(
    rows: RowArrays, samples: SampleRows, is_chosen: NDArray[np.bool_]
) -> SplitSizes:
    counts = dict.fromkeys(("num_samples", "num_captions", "path_bytes", "caption_bytes"), 0)
    for part in iterate_slices(len(is_chosen), PART_SIZE):
        first = samples.first[part][is_chosen[part]]
        caption_rows, _ = samples.choose_captions(part, is_chosen[part])
        counts["num_samples"] += len(first)
        counts["num_captions"] += len(caption_rows)
        counts["path_bytes"] += rows.paths.count_bytes(first)
        counts["caption_bytes"] += rows.captions.count_bytes(caption_rows)
    return SplitSizes(**counts)
