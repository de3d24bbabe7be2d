"""What a user should know of indexed shards: one sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from uniclip.config import TextConfig, WebdatasetData
from uniclip.config.model import MAX_CONTEXT_LENGTH
from uniclip.data.source import DataWarning
from uniclip.data.split import SPLIT_NAMES, SplitName
from uniclip.data.text.truncation import MAX_CAPTIONS, count_truncated, describe_cut_captions
from uniclip.data.webdataset import paths
from uniclip.data.webdataset.assignment import (
    assign_held_out,
    assign_rows,
    check_broken,
    count_training_before,
    describe_counts,
    find_held_out,
)
from uniclip.data.webdataset.index import ShardIndex, open_index
from uniclip.data.webdataset.sample_filters import read_summary
from uniclip.data.webdataset.scan import TOO_SMALL
from uniclip.data.webdataset.thumbnails import StoredImages, list_missing_chunks
from uniclip.errors import UserError

MAX_NAMED = 3
"""Skipped samples that are named; the others are counted."""
HELD_OUT: tuple[SplitName, ...] = ("validation", "test")
REPAIR = "repair these shards"
DECOMPRESS = "decompress them, or move them to another folder"


def describe_index(config: WebdatasetData, index: ShardIndex) -> list[str]:
    """Return the sentences on an index; `UserError` if its samples cannot be used."""
    check_broken(config, index)
    held_out = assign_held_out(config, index)
    if not len(held_out["validation"]):
        raise UserError(
            f"{config.path} has no validation samples ({len(index)} samples, "
            f"data.validation_fraction={config.validation_fraction:g}): raise the fraction"
        )
    num_held_out = len(find_held_out(config, index))
    (num_training,) = count_training_before(config, index, [len(index)])
    counts = {"train": num_training, **{n: len(r) for n, r in held_out.items()}}
    parts = [f"{counts[name]:,} {name}" for name in SPLIT_NAMES]
    num_unused = num_held_out - sum(map(len, held_out.values()))
    if num_unused:
        parts.append(f"{num_unused:,} held out beyond data.max_held_out={config.max_held_out}")
    return [
        f"{len(index):,} samples: {', '.join(parts)}",
        *_describe_skipped(index),
        *_describe_filter(config, index, num_training),
        *_describe_too_small(config, index),
        *_describe_repeated(index),
        *_describe_labelled(config),
        *_describe_leakage(config, index),
    ]


def list_warnings(config: WebdatasetData, text_config: TextConfig) -> list[DataWarning]:
    """Return the sentences that a user should act on, each with what to do.

    Raises:
        UserError: The shards cannot be used.
    """
    from uniclip.data.webdataset.labelled_images import open_labelled_images
    from uniclip.data.webdataset.split import check_held_out  # here: they import tokenizers
    from uniclip.data.webdataset.tokens import PackedCaptions

    index = open_index(config)
    labelled = open_labelled_images(config)
    compressed = paths.describe_compressed(config.path)
    for images in labelled:
        images.name_classes()
    describe_index(config, index)
    split_rows = assign_rows(config, index)
    unreadable: list[str] = []
    for name in HELD_OUT:
        unreadable += check_held_out(config, index, split_rows[name], name).unreadable
    rows = split_rows["train"]
    step = max(1, -(-len(rows) // MAX_CAPTIONS))
    captions = [text for (text,) in PackedCaptions(index, rows[::step])]
    counts = count_truncated(text_config, captions, captions)
    longest = min(counts.longest, MAX_CONTEXT_LENGTH)
    return [
        *(DataWarning(s, DECOMPRESS) for s in compressed),
        *(DataWarning(s, REPAIR) for s in _describe_skipped(index)),
        *(
            DataWarning(s, REPAIR)
            for images in labelled
            if images.index is not None
            for s in _describe_skipped(images.index)
        ),
        *(DataWarning(s, REPAIR) for s in _describe_unreadable(unreadable)),
        *(
            DataWarning(s, f"set model.text.context_length={longest}, or shorten the captions")
            for s in describe_cut_captions(text_config, counts)
        ),
    ]


def _describe_skipped(index: ShardIndex) -> Iterator[str]:
    summary = index.summary
    if summary.num_broken:
        verb = "sample is" if summary.num_broken == 1 else "samples are"
        yield (
            f"{summary.num_broken:,} {verb} skipped ({describe_counts(summary.broken_counts)}): "
            f"{'; '.join(summary.named[:MAX_NAMED])}"
        )


def _describe_unreadable(unreadable: Sequence[str]) -> Iterator[str]:
    if unreadable:
        noun = "image is" if len(unreadable) == 1 else "images are"
        more = f"; and {len(unreadable) - MAX_NAMED:,} more" if len(unreadable) > MAX_NAMED else ""
        yield (
            f"{len(unreadable):,} validation and test {noun} left out: "
            f"{'; '.join(unreadable[:MAX_NAMED])}{more}"
        )


def _describe_filter(config: WebdatasetData, index: ShardIndex, num_training: int) -> Iterator[str]:
    if config.where is None:
        return
    num_unfiltered = len(index) - len(find_held_out(config, index))
    summary = read_summary(index.folder, config.where)
    missing = "".join(
        f", {number:,} without a {name} that can be compared"
        for name, number in summary.missing_fields.items()
    )
    yield (
        f"data.where={config.where!r} leaves {num_training:,} of {num_unfiltered:,} training "
        f"samples, and all that are held out: of all samples, {summary.num_filtered:,} do not "
        f"fulfil it{missing}"
    )


def _describe_too_small(config: WebdatasetData, index: ShardIndex) -> Iterator[str]:
    if config.min_side:
        number = index.summary.counts.get(TOO_SMALL, 0)
        yield f"data.min_side={config.min_side} leaves {number:,} samples out"


def _describe_labelled(config: WebdatasetData) -> Iterator[str]:
    if not config.labelled_path:
        return
    from uniclip.data.webdataset.labelled_images import find_labelled_images  # see above

    labelled = find_labelled_images(config)
    if labelled is None:
        yield "the labelled shards are not indexed yet: a run, or doctor, reads their headers once"
        return
    yield (
        f"{config.labelled_fraction:.3g} of each batch is of {sum(map(len, labelled)):,} labelled "
        "images, all of which are for training"
    )


def _describe_leakage(config: WebdatasetData, index: ShardIndex) -> Iterator[str]:
    from uniclip.data.webdataset.labelled_images import find_labelled_images

    labelled = find_labelled_images(config)
    sources: list[StoredImages] = [index, *(labelled or [])]
    if labelled is None or any(map(list_missing_chunks, sources)):
        keys = f" data.min_side={config.min_side}" if config.min_side else ""
        keys += " data.labelled_path=<labelled images>" if config.labelled_path else ""
        yield (
            "leakage is unchecked: copies of test images are searched for once python sweep.py "
            f"data hash data.path=<shards>{keys} has decoded all images"
        )


def _describe_repeated(index: ShardIndex) -> Iterator[str]:
    number = index.summary.num_repeated
    if number:
        yield (
            f"{number:,} {'image has' if number == 1 else 'images have'} the name of another one "
            "of the same source, as in several downloads in one folder, or rows of one image: they "
            "are in the same split and get the same augmentations; join downloads with "
            '"::" in data.path'
        )
    number = index.summary.num_repeated_members
    if number:
        verb = "member of a shard is" if number == 1 else "members of shards are"
        yield (
            f"{number:,} {verb} left out: an earlier one of the sample has the same extension, as "
            "where a sample is there twice in a row"
        )
