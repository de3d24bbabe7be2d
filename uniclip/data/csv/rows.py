"""Reading and checking the rows of a table of images; errors name file, line and column.

One rule holds for rows that cannot be used, since the caption or the path is empty or the image
missing: of the training rows up to `data.max_broken` are skipped, and counted; any other one is an
error, which lists them all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uniclip.config import CsvData
from uniclip.data.csv.columns import TableColumns, TableRequest, find_columns
from uniclip.data.csv.table import iterate_rows
from uniclip.data.split import SplitName, assign_split
from uniclip.errors import UserError
from uniclip.io.atomic import resolve_staged_path
from uniclip.io.file_digests import is_settled, read_signature

SPLIT_WORDS: dict[str, SplitName] = {
    **dict.fromkeys(("train", "training", "restval"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Words of a split column in lower case -> the split; "restval" is Karpathy's, of COCO."""
MAX_LOOKED_UP_BYTES = 2**25
"""Size of the tables up to which all images are looked up: some 300,000 rows."""
MAX_LISTED = 100
"""Faulty rows that an error lists; it counts the others."""


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


@dataclass
class RowFault:
    """A row that cannot be used."""

    table_path: str
    line: int
    path: str
    """What the row says of the image's path."""
    reason: str
    declared_split: SplitName | None = None

    def describe(self) -> str:
        """Return place and reason."""
        return f"{self.table_path} line {self.line}, {self.reason}"


@dataclass(frozen=True)
class SplitRule:
    """How samples without a declared split are divided: by a hash of the path."""

    validation_fraction: float
    test_fraction: float

    def assign(self, path: str) -> SplitName:
        """Return the split of the sample with this path."""
        return assign_split(
            f"csv/{path}",
            validation_fraction=self.validation_fraction,
            test_fraction=self.test_fraction,
        )


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
        if row.declared_split is not None:
            return row.declared_split
        return self.split_rule.assign(row.path) if row.path else "train"


def read_samples(config: CsvData) -> list[CsvSample]:
    """Return the samples in the order of the file; `UserError` names file, line and column."""
    return read_index(config).samples


def read_index(config: CsvData) -> CsvIndex:
    """Return the samples of the table and of the test table, and the rows that are skipped.

    Raises:
        UserError: A table cannot be read, rows contradict each other, more training rows than
            allowed cannot be used, or a validation or test row cannot be used.
    """
    are_looked_up = config.verify or _count_bytes(config) <= MAX_LOOKED_UP_BYTES
    table = _read_table(TableRequest.from_config(config, config.path), look_up=are_looked_up)
    tables = [table]
    declared_splits = {sample.declared_split for sample in table.samples}
    if config.test_path:
        _check_test_table(config, declared_splits)
        test_request = TableRequest.from_config(config, config.test_path, is_test=True)
        tables.append(_read_table(test_request, default_split="test", look_up=are_looked_up))
        _check_overlap(*tables)
    if config.split_column is not None and "validation" not in declared_splits:
        declared_rows: list[CsvSample | RowFault] = [*table.samples, *table.faults]
        for row in declared_rows:
            if row.declared_split == "train":
                row.declared_split = None  # so that a part becomes the validation split
    has_declared_test = config.split_column is not None or bool(config.test_path)
    split_rule = SplitRule(
        config.validation_fraction, 0.0 if has_declared_test else config.test_fraction
    )
    index = CsvIndex(
        [sample for t in tables for sample in t.samples],
        split_rule,
        [fault for t in tables for fault in t.faults],
        tuple(t.columns for t in tables),
        are_looked_up,
    )
    _check_faults(config, index)
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
    _check_held_out_faults(table.faults)
    return table.samples


@dataclass(frozen=True)
class _Table:
    """The rows of one table."""

    columns: TableColumns
    samples: list[CsvSample]
    faults: list[RowFault]


def _count_bytes(config: CsvData) -> int:
    """Return the size of the tables; 0 for one that cannot be opened, which is found later."""
    paths = [Path(path).expanduser() for path in (config.path, config.test_path) if path]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _read_table(
    request: TableRequest, default_split: SplitName | None = None, look_up: bool = True
) -> _Table:
    columns = find_columns(request)
    folder = str(resolve_staged_path(str(Path(request.path).parent)))
    samples: dict[str, CsvSample] = {}
    images: dict[str, tuple[str, int, str]] = {}
    faults = []
    for line, fields in iterate_rows(columns.table):
        texts = {key: fields[position] for key, position in columns.positions.items()}
        split = default_split
        if "split_column" in texts:
            split = _parse_split(columns, line, texts["split_column"])
        path, caption = texts["image_column"], texts["caption_column"]
        if path not in images:
            images[path] = _find_image(columns, folder, path, look_up)
        file_key, file_size, reason = images[path]
        if is_blank(caption):
            reason = reason or f"column {columns.names['caption_column']!r} is empty"
        if reason:
            faults.append(RowFault(request.path, line, path, reason, split))
            continue
        new_sample = CsvSample(
            line=line,
            path=path,
            label=texts.get("label_column") or None,
            file_size=file_size,
            table_path=request.path,
            declared_split=split,
            file_key=file_key,
        )
        sample = samples.setdefault(file_key, new_sample)
        _check_agreement(columns, sample, new_sample)
        if path != sample.path and path not in sample.other_names:
            sample.other_names += (path,)
        if caption not in sample.captions:
            sample.captions.append(caption)
    if not samples:
        detail = f" that can be used ({faults[0].describe()})" if faults else ""
        raise UserError(f"{request.path} has no rows{detail}; add at least one image and caption")
    return _Table(columns, list(samples.values()), faults)


def _parse_split(columns: TableColumns, line: int, word: str) -> SplitName:
    if word.lower() in SPLIT_WORDS:
        return SPLIT_WORDS[word.lower()]
    problem = f"{word!r} is not a split" if word else "it is empty"
    raise UserError(
        f"{columns.table.path} line {line}, column {columns.names['split_column']!r}: {problem}; "
        "write train, validation or test"
    )


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


def _check_agreement(columns: TableColumns, first: CsvSample, row: CsvSample) -> None:
    """Raise `UserError` unless a row has the label and the split of the image's first row."""
    for key, one, other in (
        ("label_column", first.label, row.label),
        ("split_column", first.declared_split, row.declared_split),
    ):
        if one != other:
            kind = key.removesuffix("_column")
            raise UserError(
                f"{columns.table.path} line {row.line}, column {columns.names[key]!r}: {row.path} "
                f"is {other or ''!r} here but {one or ''!r} on line {first.line}; give each image "
                f"one {kind}"
            )


def _check_test_table(config: CsvData, declared_splits: set[SplitName | None]) -> None:
    if "test" in declared_splits:
        raise UserError(
            f"column {config.split_column!r} of {config.path} says test in some rows, and "
            f"data.test_path={config.test_path} names other test images: leave data.test_path out "
            "or remove these rows"
        )
    if Path(config.test_path).resolve() == Path(config.path).resolve():
        raise UserError(
            "data.test_path and data.path name the same file: name another one, or hold images "
            "out with data.test_fraction"
        )


def _check_overlap(table: _Table, test_table: _Table) -> None:
    """Raise `UserError` if a test image is a training or validation image too."""
    line_by_file = {sample.file_key: sample.line for sample in table.samples}
    common = [sample for sample in test_table.samples if sample.file_key in line_by_file]
    if common:
        first = common[0]
        raise UserError(
            f"{len(common)} of {len(test_table.samples)} images of data.test_path="
            f"{first.table_path} are in data.path={table.columns.table.path} too, such as "
            f"{first.path} on line {first.line}, and line {line_by_file[first.file_key]} there; "
            "remove them from one of the tables"
        )


def _check_faults(config: CsvData, index: CsvIndex) -> None:
    training_faults = [fault for fault in index.skipped_rows if index.get_split(fault) == "train"]
    _check_held_out_faults([fault for fault in index.skipped_rows if fault not in training_faults])
    if not training_faults:
        return
    num_training = sum(index.get_split(sample) == "train" for sample in index.samples)
    num_rows = num_training + len(training_faults)
    if len(training_faults) > config.count_allowed_broken(num_rows):
        raise UserError(
            f"{len(training_faults)} of {num_rows} training rows cannot be used, more than "
            f"data.max_broken={config.max_broken:g} allows: {list_faults(training_faults)}; fix or "
            "remove these rows, or raise data.max_broken"
        )


def _check_held_out_faults(faults: Sequence[RowFault]) -> None:
    if faults:
        raise UserError(
            f"{len(faults)} validation or test row{'s' * (len(faults) > 1)} cannot be used: "
            f"{list_faults(faults)}; fix or remove {'these rows' if len(faults) > 1 else 'it'}"
        )


def list_faults(faults: Sequence[RowFault], max_listed: int = MAX_LISTED) -> str:
    """Return place and reason of each faulty row, and the number of those beyond `max_listed`."""
    texts = [fault.describe() for fault in faults[:max_listed]]
    if len(faults) > max_listed:
        texts.append(f"and {len(faults) - max_listed} more")
    return "; ".join(texts)


def format_first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class."""
    return (str(error).splitlines() or [type(error).__name__])[0]
