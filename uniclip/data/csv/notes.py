"""What a user should know of a table of images before training: one sentence each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from uniclip.config import CsvData, TextConfig
from uniclip.config.model import MAX_CONTEXT_LENGTH
from uniclip.data.csv.columns import TableColumns
from uniclip.data.csv.rows import CsvIndex, CsvSample, list_faults, recall_index
from uniclip.data.csv.table import PARQUET, SEPARATORS
from uniclip.data.source import DataWarning
from uniclip.data.split import SPLIT_NAMES
from uniclip.data.text.truncation import (
    TruncationCounts,
    count_truncated,
    describe_cut_captions,
    describe_equal_captions,
)
from uniclip.errors import UserError

REPAIR_ROWS = "fix or remove these rows"
NAME_LABELS = "leave data.label_column out, or name the column of the classes"
MAX_NAMED_ROWS = 3
"""Skipped rows that are named; the others are counted."""


def describe_index(config: CsvData, text_config: TextConfig) -> list[str]:
    """Return the sentences on the tables of a configuration.

    Args:
        config: The data section.
        text_config: The text encoder, to whose context captions are cut.

    Raises:
        UserError: The tables cannot be read or used.
    """
    index = recall_index(config)
    _check_validation(index)
    counts = _count_truncated(index, text_config)
    return [
        *(sentence for columns in index.tables for sentence in _describe_format(columns)),
        _describe_splits(index),
        *_describe_look_up(index),
        *_describe_skipped_rows(index),
        *_describe_repeated_images(index),
        *_describe_useless_labels(config, index),
        *_describe_missing_labels(config, index),
        *describe_cut_captions(text_config, counts),
        *describe_equal_captions(counts),
    ]


def list_warnings(config: CsvData, text_config: TextConfig) -> list[DataWarning]:
    """Return those sentences that a user should act on, each with what to do.

    Raises:
        UserError: The tables cannot be read or used.
    """
    index = recall_index(config)
    counts = _count_truncated(index, text_config)
    longest = min(counts.longest, MAX_CONTEXT_LENGTH)
    return [
        *(DataWarning(s, REPAIR_ROWS) for s in _describe_skipped_rows(index)),
        *(DataWarning(s, NAME_LABELS) for s in _describe_useless_labels(config, index)),
        *(
            DataWarning(s, f"set model.text.context_length={longest}, or shorten the captions")
            for s in describe_cut_captions(text_config, counts)
        ),
    ]


def _describe_format(columns: TableColumns) -> Iterator[str]:
    """Yield how a table was read if it is not a CSV in UTF-8 with the columns of the defaults."""
    table = columns.table
    details = []
    if table.separator != ",":
        details.append(f"separated by {SEPARATORS.get(table.separator, repr(table.separator))}")
    if table.encoding == PARQUET:
        details.append("as Parquet")
    elif not table.encoding.startswith("utf-8"):
        details.append(f"in {table.encoding.upper()}")
    for key, name in columns.substitutes.items():
        details.append(f"{name!r} as data.{key}")
    if details:
        yield f"{table.path} is read {', '.join(details)}"


def _describe_splits(index: CsvIndex) -> str:
    counts = Counter(index.get_split(sample) for sample in index.samples)
    parts = [f"{counts[name]} {name}" for name in SPLIT_NAMES]
    noun = "image" if len(index.samples) == 1 else "images"
    return f"{len(index.samples)} {noun}: {', '.join(parts)}"


def _describe_look_up(index: CsvIndex) -> Iterator[str]:
    if not index.are_looked_up:
        yield (
            "images are not looked up, since the table is large: missing ones are found when they "
            "are read (data.verify=true reads all of them first); python sweep.py data pack writes "
            "shards, which open in seconds"
        )


def _check_validation(index: CsvIndex) -> None:
    counts = Counter(index.get_split(sample) for sample in index.samples)
    if not counts["validation"]:
        raise UserError(
            f"{index.tables[0].table.path} has no validation images ({len(index.samples)} images: "
            f"{counts['train']} train, {counts['test']} test): add images, or name them in "
            "data.split_column"
        )


def _describe_skipped_rows(index: CsvIndex) -> Iterator[str]:
    faults = index.skipped_rows
    if faults:
        listed = list_faults(faults, MAX_NAMED_ROWS)
        noun = "row is" if len(faults) == 1 else "rows are"
        yield f"{len(faults)} training {noun} skipped: {listed}"


def _describe_repeated_images(index: CsvIndex) -> Iterator[str]:
    repeated = [sample for sample in index.samples if sample.other_names]
    if repeated:
        verb = "image is" if len(repeated) == 1 else "images are"
        example = f"{repeated[0].path} and {repeated[0].other_names[0]}"
        yield (
            f"{len(repeated)} {verb} listed under several names, such as {example}: each is one "
            "image with several captions"
        )


def _describe_useless_labels(config: CsvData, index: CsvIndex) -> Iterator[str]:
    if config.label_column is None:
        return
    column = f"column {config.label_column!r} (data.label_column)"
    classes = {sample.label for sample in index.samples} - {None}
    if not classes:
        yield f"{column} is empty in all rows: no class is trained on or evaluated"
    elif len(classes) == 1:
        yield f"{column} has one class only: classification is right whatever the model is"


def _describe_missing_labels(config: CsvData, index: CsvIndex) -> Iterator[str]:
    if config.label_column is None:
        return
    counts = Counter(sample.label for sample in index.samples)
    num_unlabelled = counts.pop(None, 0)
    if num_unlabelled and len(counts) > 1:
        yield (
            f"column {config.label_column!r} (data.label_column) is empty for {num_unlabelled} of "
            f"{len(index.samples)} images; the others have {len(counts)} classes"
        )


def _count_truncated(index: CsvIndex, text_config: TextConfig) -> TruncationCounts:
    training_samples = [s for s in index.samples if index.get_split(s) == "train"]
    return count_truncated(
        text_config,
        list(_iterate_captions(training_samples)),
        _iterate_captions(index.samples),
    )


def _iterate_captions(samples: Iterable[CsvSample]) -> Iterator[str]:
    for sample in samples:
        yield from sample.captions
