"""The memory of a program: of all its processes together."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

MIN_INTERVAL_S = 0.2
"""Shortest time between two measurements."""
MAX_LOAD = 0.02
"""Largest share of the time that measurements take."""


class MemoryMeter:
    """Measures the peak memory of the processes below one process.

    Pages that processes share, such as those of data workers, count once. Between two measurements
    only the peak of a single process is known.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        """The largest sum of resident bytes so far, or the largest of one process."""
        self._next_time = 0.0

    def sample(self, pid: int) -> None:
        """Measure the processes below process `pid`, unless the last measurement is recent."""
        start = time.monotonic()
        if start < self._next_time:
            return
        processes: list[psutil.Process] = []
        with suppress(psutil.Error):
            processes = psutil.Process(pid).children(recursive=True)
        if not processes:  # not started yet
            return
        self.peak_bytes = max(
            self.peak_bytes,
            sum(map(_read_shared_bytes, processes)),
            *map(_read_peak_bytes, processes),
        )
        now = time.monotonic()
        self._next_time = now + max(MIN_INTERVAL_S, (now - start) / MAX_LOAD)


def _read_shared_bytes(process: psutil.Process) -> int:
    """Return the resident bytes of a process; of a page that n processes share, one n-th."""
    with suppress(psutil.Error, OSError, AttributeError):
        return int(process.memory_full_info().pss)
    with suppress(psutil.Error):  # another user's, or not Linux
        return int(process.memory_info().rss)
    return 0


def _read_peak_bytes(process: psutil.Process) -> int:
    """Return the largest resident size that a process has had; 0 where that is not known."""
    with suppress(OSError, ValueError):
        with open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as stream:
            for line in stream:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    return 0
