"""Which samples of an index are in which split and source, and whether too many are broken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uniclip.config import WebdatasetData
from uniclip.config.data import split_sources
from uniclip.data.split import SourceShare, SplitName
from uniclip.data.webdataset import sample_filters
from uniclip.data.webdataset.index import ShardIndex
from uniclip.data.webdataset.sample_filters import map_accepted
from uniclip.errors import UserError
from uniclip.io.array_file import ArrayWriter, has_array, map_array
from uniclip.io.hashing import digest
from uniclip.io.published_folder import get_or_publish

VERSION = 1
"""Raised when the same index gets other training samples."""
ROWS_FILE, IDS_FILE = "rows.npy", "ids.npy"
CHUNK_SIZE = 2**20
"""Ids that are copied at once."""
HASH_RANGE = 2**32
"""Number of values of a hash that decides on the split."""


def assign_rows(config: WebdatasetData, index: ShardIndex) -> dict[SplitName, NDArray[np.uint32]]:
    """Return the samples of each split, ascending; of those held out at most `max_held_out`.

    Training samples fulfil `data.where`; those held out are chosen from all samples.
    """
    is_training = np.ones(len(index), np.bool_)
    if config.where is not None:
        is_training &= map_accepted(index.folder, config.where)
    is_training[find_held_out(config, index)] = False
    training_rows = np.flatnonzero(is_training).astype(np.uint32)
    return {"train": training_rows, **assign_held_out(config, index)}


def assign_held_out(
    config: WebdatasetData, index: ShardIndex
) -> dict[SplitName, NDArray[np.uint32]]:
    """Return the samples of validation and test, ascending, at most `max_held_out` of each."""
    held_out = find_held_out(config, index)
    positions = index.split_positions[held_out]
    is_test = positions < math.ceil(config.test_fraction * HASH_RANGE)
    rows: dict[SplitName, NDArray[np.uint32]] = {}
    is_in_split: dict[SplitName, NDArray[np.bool_]] = {"validation": ~is_test, "test": is_test}
    for name, is_chosen in is_in_split.items():
        candidates = held_out[is_chosen]
        order = np.argsort(positions[is_chosen], kind="stable")[: config.max_held_out]
        rows[name] = np.sort(candidates[order]).astype(np.uint32)
    return rows


def find_held_out(config: WebdatasetData, index: ShardIndex) -> NDArray[np.int64]:
    """Return all samples that are held out of the training split, ascending."""
    fraction = config.test_fraction * HASH_RANGE + config.validation_fraction * HASH_RANGE
    return np.flatnonzero(index.split_positions < math.ceil(fraction))


def count_training_before(
    config: WebdatasetData, index: ShardIndex, samples: Sequence[int] | NDArray[np.int64]
) -> list[int]:
    """Return how many training samples are before each of some samples of an index."""
    if config.where is not None:
        counts = np.searchsorted(assign_rows(config, index)["train"].astype(np.int64), samples)
    else:
        counts = np.asarray(samples) - np.searchsorted(find_held_out(config, index), samples)
    return [int(count) for count in counts]


def map_training_rows(
    config: WebdatasetData, index: ShardIndex
) -> tuple[NDArray[np.uint32], NDArray[np.uint64]]:
    """Return the samples of the training split, ascending, and their ids: (n,) and (n,).

    Both are kept beside the index and mapped into memory, which all processes of a machine share.

    Raises:
        UserError: They cannot be written, or `data.where` leaves none.
    """
    key = digest(identify_training_samples(config), 32)
    folder = index.folder.with_name(f"{index.folder.name}-train-{key}")
    get_or_publish(folder, partial(_write_training_rows, config, index), _is_whole)
    return map_array(folder / ROWS_FILE), map_array(folder / IDS_FILE)


def identify_training_samples(config: WebdatasetData) -> list[object]:
    """Return what decides on the training samples of an index."""
    values: list[object] = [VERSION, config.validation_fraction, config.test_fraction]
    return values if config.where is None else [*values, config.where, sample_filters.VERSION]


def _write_training_rows(config: WebdatasetData, index: ShardIndex, folder: Path) -> None:
    rows = assign_rows(config, index)["train"]
    if config.where is not None and not len(rows):
        raise UserError(
            f"data.where={config.where!r} leaves no training sample of {config.path}; relax it"
        )
    with (
        ArrayWriter(folder / ROWS_FILE, np.uint32) as rows_writer,
        ArrayWriter(folder / IDS_FILE, np.uint64) as ids_writer,
    ):
        rows_writer.append(rows)
        for start in range(0, len(rows), CHUNK_SIZE):
            ids_writer.append(index.ids[rows[start : start + CHUNK_SIZE]])


def _is_whole(folder: Path) -> bool:
    """Return whether both files are there, complete and of one length."""
    try:
        length = len(map_array(folder / ROWS_FILE))
    except (OSError, EOFError, ValueError):
        return False
    return has_array(folder / ROWS_FILE, np.uint32, length) and has_array(
        folder / IDS_FILE, np.uint64, length
    )


def check_broken(config: WebdatasetData, index: ShardIndex, path: str | None = None) -> None:
    """Raise `UserError` if more samples than allowed cannot be used.

    path: The path of the shards, for the message; None = that of the data section.
    """
    summary = index.summary
    num_samples = len(index) + summary.num_broken
    if summary.num_broken > config.count_allowed_broken(num_samples):
        counts = describe_counts(summary.broken_counts)
        raise UserError(
            f"{summary.num_broken} of {num_samples} samples of {path or config.path} cannot be "
            f"used, more than data.max_broken={config.max_broken:g} allows ({counts}): "
            f"{'; '.join(summary.named[:3])}; repair the shards or raise data.max_broken"
        )


def describe_counts(counts: dict[str, int]) -> str:
    """Return the number of samples for each reason, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason}: {number}" for reason, number in ordered)


def divide_sources(config: WebdatasetData, index: ShardIndex) -> list[SourceShare]:
    """Return the share of each source in a batch; none if they are mixed as they are."""
    if not config.weights:
        return []
    sources = np.array([shard.source for shard in index.shards])
    first_shards = np.searchsorted(sources, np.arange(len(config.weights) + 1))
    starts = count_training_before(config, index, index.first_samples[first_shards])
    total = sum(config.weights)
    return [
        SourceShare(int(start), int(stop), weight / total, f"source {number} ({path})")
        for number, (path, weight, start, stop) in enumerate(
            zip(split_sources(config.path), config.weights, starts, starts[1:]), 1
        )
    ]


def divide_batch(
    config: WebdatasetData, pair_shares: Sequence[SourceShare], num_pairs: int, num_samples: int
) -> list[SourceShare]:
    """Return the shares of a batch: those of the pairs, and that of all labelled images.

    Args:
        config: The data section.
        pair_shares: Shares of the sources of pairs among each other; empty = they are mixed.
        num_pairs: Number of pairs, which come first.
        num_samples: Number of all samples.
    """
    shares = pair_shares or (SourceShare(0, num_pairs, 1.0, "the pairs"),)
    pair_fraction = 1 - config.labelled_fraction
    return [
        *(replace(share, share=share.share * pair_fraction) for share in shares),
        SourceShare(num_pairs, num_samples, config.labelled_fraction, "the labelled images"),
    ]
