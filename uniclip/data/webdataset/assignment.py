"""Which samples of an index are in which split and source, and whether too many are broken."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from uniclip.config import WebdatasetData
from uniclip.data.split import SourceShare, SplitName
from uniclip.data.webdataset.index import ShardIndex
from uniclip.errors import UserError

HASH_RANGE = 2**32
"""Number of values of a hash that decides on the split."""


def assign_rows(config: WebdatasetData, index: ShardIndex) -> dict[SplitName, NDArray[np.uint32]]:
    """Return the samples of each split, ascending; of those held out at most `max_held_out`."""
    positions = index.split_positions
    test_limit = config.test_fraction * HASH_RANGE
    validation_limit = test_limit + config.validation_fraction * HASH_RANGE
    is_test, is_held_out = positions < test_limit, positions < validation_limit
    held_out: dict[SplitName, NDArray[np.int64]] = {
        "validation": np.flatnonzero(is_held_out & ~is_test),
        "test": np.flatnonzero(is_test),
    }
    rows: dict[SplitName, NDArray[np.uint32]] = {
        "train": np.flatnonzero(~is_held_out).astype(np.uint32)
    }
    for name, candidates in held_out.items():
        order = np.argsort(positions[candidates], kind="stable")[: config.max_held_out]
        rows[name] = np.sort(candidates[order]).astype(np.uint32)
    return rows


def check_broken(config: WebdatasetData, index: ShardIndex) -> None:
    """Raise `UserError` if more samples than allowed cannot be used."""
    summary = index.summary
    num_samples = len(index) + summary.num_broken
    if summary.num_broken > config.count_allowed_broken(num_samples):
        raise UserError(
            f"{summary.num_broken} of {num_samples} samples of {config.path} cannot be used, more "
            f"than data.max_broken={config.max_broken:g} allows ({describe_counts(summary.counts)})"
            f": {'; '.join(summary.named[:3])}; repair the shards or raise data.max_broken"
        )


def describe_counts(counts: dict[str, int]) -> str:
    """Return the number of samples for each reason, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason}: {number}" for reason, number in ordered)


def divide_sources(
    config: WebdatasetData, index: ShardIndex, rows: NDArray[np.uint32]
) -> list[SourceShare]:
    """Return the share of each source in a batch; none if they are mixed as they are."""
    if not config.weights:
        return []
    sources = np.array([shard.source for shard in index.shards])
    first_shards = np.searchsorted(sources, np.arange(len(config.weights) + 1))
    starts = np.searchsorted(rows, index.first_samples[first_shards])
    total = sum(config.weights)
    return [
        SourceShare(int(start), int(stop), weight / total)
        for start, stop, weight in zip(starts, starts[1:], config.weights)
    ]
