"""What a user should know of a table of images before training: one sentence each."""

from __future__ import annotations

from collections.abc import Iterator

from uniclip.config import CsvData, TextConfig
from uniclip.config.model import MAX_CONTEXT_LENGTH
from uniclip.data.csv.columns import TableColumns
from uniclip.data.csv.faults import list_faults
from uniclip.data.csv.index import TableIndex, recall_index
from uniclip.data.csv.summary import RowSummary
from uniclip.data.csv.table import PARQUET, SEPARATORS
from uniclip.data.source import DataWarning
from uniclip.data.split import SPLIT_NAMES
from uniclip.data.text.truncation import describe_cut_captions, describe_equal_captions
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
    summary, counts = index.summary, index.count_truncated(text_config)
    _check_validation(index)
    return [
        *(sentence for columns in index.tables for sentence in _describe_format(columns)),
        _describe_splits(summary),
        *(() if config.verify else _describe_look_up(index)),
        *_describe_skipped_rows(summary),
        *_describe_repeated_images(summary),
        *_describe_useless_labels(config, summary),
        *_describe_missing_labels(config, summary),
        *describe_cut_captions(text_config, counts),
        *describe_equal_captions(counts),
    ]


def list_warnings(config: CsvData, text_config: TextConfig) -> list[DataWarning]:
    """Return those sentences that a user should act on, each with what to do.

    Raises:
        UserError: The tables cannot be read or used.
    """
    index = recall_index(config)
    summary, counts = index.summary, index.count_truncated(text_config)
    longest = min(counts.longest, MAX_CONTEXT_LENGTH)
    return [
        *(DataWarning(s, REPAIR_ROWS) for s in _describe_skipped_rows(summary)),
        *(DataWarning(s, NAME_LABELS) for s in _describe_useless_labels(config, summary)),
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


def _describe_splits(summary: RowSummary) -> str:
    parts = [f"{summary.split_counts[name]} {name}" for name in SPLIT_NAMES]
    noun = "image" if summary.num_samples == 1 else "images"
    return f"{summary.num_samples} {noun}: {', '.join(parts)}"


def _describe_look_up(index: TableIndex) -> Iterator[str]:
    if not index.are_looked_up:
        yield (
            "images are not looked up, since the table is large: missing ones are found when they "
            "are read (data.verify=true reads all of them first); python sweep.py data pack writes "
            "shards, which open in seconds"
        )


def _check_validation(index: TableIndex) -> None:
    counts = index.summary.split_counts
    if not counts["validation"]:
        num_images = index.summary.num_samples
        raise UserError(
            f"{index.tables[0].table.path} has no validation images ({num_images} images: "
            f"{counts['train']} train, {counts['test']} test): add images, or name them in "
            "data.split_column"
        )


def _describe_skipped_rows(summary: RowSummary) -> Iterator[str]:
    faults = summary.skipped_rows
    if faults:
        listed = list_faults(faults, MAX_NAMED_ROWS)
        noun = "row is" if len(faults) == 1 else "rows are"
        yield f"{len(faults)} training {noun} skipped: {listed}"


def _describe_repeated_images(summary: RowSummary) -> Iterator[str]:
    repeated = summary.same_images
    if repeated:
        verb = "image is" if len(repeated) == 1 else "images are"
        example = f"{repeated[0][0]} and {repeated[0][1]}"
        yield (
            f"{len(repeated)} {verb} listed under several names, such as {example}: each is one "
            "image with several captions"
        )


def _describe_useless_labels(config: CsvData, summary: RowSummary) -> Iterator[str]:
    if config.label_column is None:
        return
    column = f"column {config.label_column!r} (data.label_column)"
    classes = summary.label_counts.keys() - {None}
    if not classes:
        yield f"{column} is empty in all rows: no class is trained on or evaluated"
    elif len(classes) == 1:
        yield f"{column} has one class only: classification is right whatever the model is"


def _describe_missing_labels(config: CsvData, summary: RowSummary) -> Iterator[str]:
    if config.label_column is None:
        return
    num_unlabelled = summary.label_counts[None]
    num_classes = len(summary.label_counts.keys() - {None})
    if num_unlabelled and num_classes > 1:
        yield (
            f"column {config.label_column!r} (data.label_column) is empty for {num_unlabelled} of "
            f"{summary.num_samples} images; the others have {num_classes} classes"
        )
