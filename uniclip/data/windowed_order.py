"""The order of an epoch that reads a few shards at a time, for network file systems.

Shards are shuffled and taken in blocks of `window`; the samples of a block are shuffled together.
The samples at any positions can be looked up: nothing is kept but the sizes of the shards.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from uniclip import rng


class Order(Protocol):
    """An order of n items, of which the items at any positions can be looked up."""

    def __len__(self) -> int:
        """Return n."""

    def __getitem__(self, positions: slice | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the items at `positions` (m,) int64, or at a slice."""


@dataclass(frozen=True, eq=False)
class ShardGroups:
    """Which samples of a split lie in one shard, and how many shards are shuffled together."""

    first_samples: NDArray[np.int64]
    """(S + 1,) first sample of each shard, and the number of all samples."""
    window: int
    """Shards whose samples are shuffled together."""

    def count_samples(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the number of samples from `start` to `stop` in each shard that has some."""
        bounds = np.clip(self.first_samples, start, stop)
        counts = bounds[1:] - bounds[:-1]
        return counts[counts > 0]


class WindowedOrder:
    """A random order of the samples of shards, a few shards at a time.

    Args:
        key: Key of the random stream.
        shard_sizes: (S,) samples of each shard.
        window: Shards that are shuffled together.
    """

    def __init__(self, key: int, shard_sizes: NDArray[np.int64], window: int) -> None:
        self._key, self._window = key, window
        self._first_samples = np.concatenate([[0], np.cumsum(shard_sizes)])
        self._shard_order = rng.permutation(key, len(shard_sizes))
        self._first_positions = np.concatenate([[0], np.cumsum(shard_sizes[self._shard_order])])
        """First position of each shard of the shuffled order, and n."""
        self._get_block_order = lru_cache(maxsize=4)(self._make_block_order)

    def __len__(self) -> int:
        return int(self._first_positions[-1])

    def __getitem__(self, positions: slice | NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the samples at `positions` (m,) int64, or at a slice."""
        if isinstance(positions, slice):
            positions = np.arange(*positions.indices(len(self)))
        block_starts = self._first_positions[:-1][:: self._window]
        blocks = np.searchsorted(block_starts, positions, side="right") - 1
        samples = np.empty(len(positions), np.int64)
        for block in np.unique(blocks).tolist():
            rows = np.flatnonzero(blocks == block)
            samples[rows] = self._look_up(block, positions[rows])
        return samples

    def _look_up(self, block: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the samples at positions within one block."""
        start = self._first_positions[block * self._window]
        shuffled = start + self._get_block_order(block)[positions - start]
        places = np.searchsorted(self._first_positions, shuffled, side="right") - 1
        offsets = shuffled - self._first_positions[places]
        samples: NDArray[np.int64] = self._first_samples[self._shard_order[places]] + offsets
        return samples

    def _make_block_order(self, block: int) -> rng.RandomOrder:
        first = block * self._window
        last = min(first + self._window, len(self._shard_order))
        size = int(self._first_positions[last] - self._first_positions[first])
        return rng.RandomOrder(rng.derive_key(self._key, "window", block), size)
