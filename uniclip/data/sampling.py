"""Which samples a batch takes: the shares of its sources, the rows of a process, replacements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from uniclip.data.split import SourceShare, Split, allot_rows, check_subset_size
from uniclip.data.windowed_order import Order, ShardGroups, WindowedOrder
from uniclip.distributed import ProcessGroup
from uniclip.errors import UserError
from uniclip.rng import RandomOrder


@dataclass(frozen=True)
class SourceSlice:
    """The samples start:stop, of which every batch has `rows_per_batch`."""

    start: int
    stop: int
    rows_per_batch: int
    order_purpose: str
    """Purpose of the random stream that orders them."""
    local_rows: range
    """The rows of this process among them."""
    shard_groups: ShardGroups | None = None
    """Samples that are shuffled together; None = all."""

    def get_order(self, key: int) -> Order:
        """Return the order of the samples, counted from `start`, under the key of an epoch."""
        return _get_cached_order(key, self.start, self.stop, self.shard_groups)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch."""
        return (self.stop - self.start) // self.rows_per_batch

    def list_replacements(self, order: Order, position: int, row: int) -> Iterator[int]:
        """Yield what may replace a row of the batch at `position` of an epoch, in order.

        order: The order of the epoch. No two rows of a batch get the same sample from its other
        batches; only the last resort is a sample of the same batch.
        """
        steps, size = self.steps_per_epoch, self.rows_per_batch
        for step in range(position + 1, position + steps):
            yield self.start + int(order[np.array([step % steps * size + row])][0])
        remainder, batch = order[steps * size :], order[position * size : (position + 1) * size]
        for others in (remainder, batch):
            yield from (
                self.start + int(others[(row + i) % len(others)]) for i in range(len(others))
            )


def draw_subset(split: Split, size: int | None, key: int) -> NDArray[np.int64] | None:
    """Return the samples (size,) of a random subset, increasing; None for all samples.

    Raises:
        UserError: The split has fewer samples, or several sources, or is read shard by shard.
    """
    if size is None:
        return None
    if split.source_shares or split.shard_groups is not None:
        raise UserError(
            "train.subset_size needs data of one source that are shuffled as a whole "
            "(data.order=full, no labelled images)"
        )
    check_subset_size(size, len(split))
    return np.sort(np.asarray(RandomOrder(key, len(split))[:size], np.int64))


def build_source_slices(
    split: Split,
    batch_size: int,
    batch_rows: range,
    data_name: str,
    num_samples: int | None = None,
) -> list[SourceSlice]:
    """Return how many samples of each share a batch has; `UserError` if there are too few.

    num_samples: Size of the subset of the split that is used; None = all of it.
    """
    num_samples = len(split) if num_samples is None else num_samples
    source_shares = split.source_shares or (SourceShare(0, num_samples, 1.0),)
    rows_per_source = allot_rows(source_shares, batch_size, data_name)
    source_slices, row_offset = [], 0
    for i, (source_share, num_rows) in enumerate(zip(source_shares, rows_per_source)):
        local_rows = range(
            min(max(batch_rows.start - row_offset, 0), num_rows),
            min(max(batch_rows.stop - row_offset, 0), num_rows),
        )
        source_slices.append(
            SourceSlice(
                source_share.start,
                source_share.stop,
                num_rows,
                "epoch order" if i == 0 else f"epoch order/{i}",
                local_rows,
                split.shard_groups,
            )
        )
        row_offset += num_rows
    return source_slices


def compute_local_rows(batch_size: int, num_chunks: int, process_group: ProcessGroup) -> range:
    """Return the rows of this process in a batch; `UserError` if there are fewer than chunks."""
    world_size = process_group.world_size
    if batch_size // world_size < num_chunks:
        raise UserError(
            f"train.batch_size={batch_size} is too small for {world_size} processes times "
            f"train.grad_cache_chunks={num_chunks} chunks; each needs a sample"
        )
    return divide_rows(range(batch_size), world_size)[process_group.rank]


def count_local_samples(batch_size: int, world_size: int) -> list[int]:
    """Return the number of samples of each process in a batch, by rank."""
    return [len(rows) for rows in divide_rows(range(batch_size), world_size)]


def divide_rows(rows: range, num_parts: int) -> list[range]:
    """Return the rows in order, in `num_parts` parts whose sizes differ by at most one."""
    n = len(rows)
    return [rows[n * i // num_parts : n * (i + 1) // num_parts] for i in range(num_parts)]


@lru_cache(maxsize=4)
def _get_cached_order(key: int, start: int, stop: int, shard_groups: ShardGroups | None) -> Order:
    if shard_groups is None:
        return RandomOrder(key, stop - start)
    return WindowedOrder(key, shard_groups.count_samples(start, stop), shard_groups.window)
