"""A pass over all shards, by several processes if there is much to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from uniclip.config.cores import count_process_cores
from uniclip.data.webdataset.paths import Shard
from uniclip.data.webdataset.scan import ShardContent

MAX_PROCESSES = 16
MIN_BYTES_PER_PROCESS = 2**28
"""Bytes of shards for which a process is started."""

ReportProgress = Callable[[int, int], object]
"""Is told how many shards are done, of how many."""


def scan_shards(
    shards: Sequence[Shard],
    scan: Callable[[Shard], ShardContent],
    report_progress: ReportProgress,
) -> Iterator[ShardContent]:
    """Yield the content of each shard, in order.

    Args:
        shards: The shards.
        scan: Reads one of them; it is pickled for other processes.
        report_progress: Is told how many are done.

    Raises:
        UserError, DataChangedError: As of `scan`.
    """
    for num_done, content in enumerate(_read_shards(shards, scan), 1):
        yield content
        report_progress(num_done, len(shards))


def _read_shards(
    shards: Sequence[Shard], scan: Callable[[Shard], ShardContent]
) -> Iterator[ShardContent]:
    num_processes = min(
        count_process_cores(),
        len(shards),
        MAX_PROCESSES,
        sum(shard.size for shard in shards) // MIN_BYTES_PER_PROCESS,
    )
    if num_processes < 2:
        yield from map(scan, shards)
        return
    with ProcessPoolExecutor(num_processes, mp_context=get_context("fork")) as pool:
        try:
            yield from pool.map(scan, shards)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
