"""What a user should know of a data set with embedded images: one sentence each."""

from __future__ import annotations

from collections.abc import Iterator

from uniclip.config import HuggingfaceData, TextConfig
from uniclip.config.model import MAX_CONTEXT_LENGTH
from uniclip.data.huggingface.arrow_files import get_column
from uniclip.data.huggingface.columns import DataColumns, find_columns
from uniclip.data.huggingface.folder import DataFolder, list_files
from uniclip.data.huggingface.index import DatasetIndex, check_broken, find_index, open_index
from uniclip.data.huggingface.index_writer import IndexContent
from uniclip.data.source import DataWarning
from uniclip.data.split import SPLIT_NAMES, SplitName
from uniclip.data.text.truncation import (
    count_truncated_sample,
    describe_cut_captions,
    thin_out,
)
from uniclip.errors import UserError

MAX_NAMED = 3
"""Rows and images that are named; the others are counted."""
HELD_OUT: tuple[SplitName, ...] = ("validation", "test")
REPAIR = "repair these rows"


def describe_data_set(config: HuggingfaceData) -> list[str]:
    """Return the sentences on the files and, if they are indexed, on their samples.

    Raises:
        UserError: They cannot be used.
    """
    data_folder = list_files(config.path)
    columns = find_columns(config, data_folder)
    index = find_index(config)
    if index is None:
        samples = ["the files are not indexed yet: a run, or doctor, reads their texts once"]
    else:
        samples = describe_index(config, index)
    return [
        _describe_columns(columns),
        *_describe_unused_splits(data_folder),
        *samples,
        *_describe_order(config, data_folder),
    ]


def describe_index(config: HuggingfaceData, index: DatasetIndex) -> list[str]:
    """Return the sentences on the samples; `UserError` if they cannot be used."""
    content = index.content
    check_broken(config, content)
    counts = {name: content.splits[name].num_samples for name in SPLIT_NAMES}
    if not counts["train"]:
        raise UserError(f"{config.path} has no training samples: its training split is empty")
    if not counts["validation"] and "validation" in index.data_folder.declared_splits:
        raise UserError(
            f"{config.path} has no validation samples: its validation split is empty; remove that "
            "split, and data.validation_fraction of the training samples are held out"
        )
    if not counts["validation"]:
        raise UserError(
            f"{config.path} has no validation samples ({content.num_samples} samples, "
            f"data.validation_fraction={config.validation_fraction:g}): raise the fraction"
        )
    parts = [f"{counts[name]:,} {name}" for name in SPLIT_NAMES]
    if content.num_unused:
        parts.append(
            f"{content.num_unused:,} held out beyond data.max_held_out={config.max_held_out}"
        )
    return [
        f"{content.num_samples + content.num_unused:,} samples: {', '.join(parts)}",
        *_describe_skipped(content),
        *_describe_filter(config, content),
        *_describe_repeated(content),
        *_describe_classes(config, content),
    ]


def list_warnings(config: HuggingfaceData, text_config: TextConfig) -> list[DataWarning]:
    """Return the sentences that a user should act on, each with what to do.

    Raises:
        UserError: The files cannot be used.
    """
    from uniclip.data.huggingface.split import check_held_out  # here: it imports tokenizers

    index = open_index(config)
    describe_index(config, index)
    content = index.content
    unreadable = [text for name in HELD_OUT for text in check_held_out(config, index, name)[1]]
    counts = count_truncated_sample(
        text_config,
        list(thin_out(index.open_split("train").captions)),
        content.distinct_captions,
        content.num_distinct_captions,
    )
    longest = min(counts.longest, MAX_CONTEXT_LENGTH)
    return [
        *(DataWarning(s, REPAIR) for s in _describe_skipped(content)),
        *(DataWarning(s, REPAIR) for s in _describe_unreadable(unreadable)),
        *(
            DataWarning(s, "set data.order=windowed, or save the data set with save_to_disk")
            for s in _describe_order(config, index.data_folder)
        ),
        *(
            DataWarning(s, f"set model.text.context_length={longest}, or shorten the captions")
            for s in describe_cut_captions(text_config, counts)
        ),
    ]


def _describe_columns(columns: DataColumns) -> str:
    parts = [f"images of column {get_column(columns.image)!r}"]
    if columns.caption is not None:
        parts.append(f"captions of {columns.caption!r}")
    if columns.label is not None:
        names = f" ({len(columns.label_names)} names)" if columns.label_names else ""
        parts.append(f"classes of {columns.label!r}{names}")
    if columns.caption is None:
        parts.append("captions by data.label_templates")
    return ", ".join(parts)


def _describe_unused_splits(data_folder: DataFolder) -> Iterator[str]:
    if data_folder.unused_splits:
        yield (
            "not used, since they are named neither as training, validation nor test split: "
            f"{', '.join(data_folder.unused_splits)}"
        )


def _describe_order(config: HuggingfaceData, data_folder: DataFolder) -> Iterator[str]:
    if config.order == "full" and any(file.is_parquet for file in data_folder.files):
        yield (
            "each image of a Parquet file takes the reading of its whole row group with "
            "data.order=full"
        )


def _describe_skipped(content: IndexContent) -> Iterator[str]:
    if content.num_broken:
        verb = "row is" if content.num_broken == 1 else "rows are"
        counts = ", ".join(f"{reason}: {number}" for reason, number in content.counts.items())
        yield (
            f"{content.num_broken:,} {verb} skipped ({counts}): "
            f"{'; '.join(content.named[:MAX_NAMED])}"
        )


def _describe_unreadable(unreadable: list[str]) -> Iterator[str]:
    if unreadable:
        noun = "image is" if len(unreadable) == 1 else "images are"
        more = f"; and {len(unreadable) - MAX_NAMED:,} more" if len(unreadable) > MAX_NAMED else ""
        yield (
            f"{len(unreadable):,} validation and test {noun} left out: "
            f"{'; '.join(unreadable[:MAX_NAMED])}{more}"
        )


def _describe_filter(config: HuggingfaceData, content: IndexContent) -> Iterator[str]:
    if config.where is not None:
        missing = "".join(
            f", {number:,} without a {name} that can be compared"
            for name, number in content.missing_fields.items()
        )
        yield (
            f"{content.num_filtered:,} training rows do not fulfil "
            f"data.where={config.where!r}{missing}; held-out rows need not"
        )


def _describe_repeated(content: IndexContent) -> Iterator[str]:
    if content.num_repeated:
        yield (
            f"{content.num_repeated:,} images have the path of another one: they are in one split "
            "if it is not stated (data.key_column makes several rows of an image one sample)"
        )


def _describe_classes(config: HuggingfaceData, content: IndexContent) -> Iterator[str]:
    if config.label_column is None:
        return
    num_classes = len(content.class_names)
    yield f"{num_classes:,} {'class' if num_classes == 1 else 'classes'}"
