"""Time, memory and the machine's own speed, measured together.

A machine that others use computes at a speed that changes by half within a minute. So each step is
timed between two bursts of matrix products of the step's own length, and what it did is related to
what these did.
"""

from __future__ import annotations

import ctypes
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SHORTEST_BURST, LONGEST_BURST = 0.2, 10.0
MIB = 2**20


@dataclass(frozen=True)
class Effort:
    """How often a step is repeated."""

    rounds: int = 5
    """At most so many are counted, after one that is not."""
    seconds: float = 30.0
    """No new round is begun after these."""
    burst: float = SHORTEST_BURST
    """Seconds of the shortest burst."""
    side: int = 2048
    """Rows and columns of a burst's matrices."""


@dataclass(frozen=True)
class Measurement:
    """Medians over the counted rounds."""

    seconds: float
    mib: float
    """Peak of resident memory during the step beyond what was resident before; the largest."""
    speed: float
    """Floating-point operations a second of the bursts beside the steps."""
    products: float
    """How many floating-point operations the bursts' speed would have done in the step's time."""
    rounds: int


def measured(step: Callable[[], object], effort: Effort) -> Measurement:
    """Repeats the step between bursts of matrix products."""
    rounds: list[tuple[float, float, float]] = []
    factors = torch.randn(3, effort.side, effort.side)
    speed = burst(effort.burst, factors)
    begun = time.perf_counter()
    while not rounds or (
        len(rounds) <= effort.rounds and time.perf_counter() - begun < effort.seconds
    ):
        seconds, extra = once(step)
        after = burst(min(max(seconds, effort.burst), LONGEST_BURST), factors)
        rounds.append((seconds, extra, (speed + after) / 2))
        speed = after
    counted = rounds[1:] or rounds
    return Measurement(
        seconds=statistics.median(seconds for seconds, _, _ in counted),
        mib=max(extra for _, extra, _ in rounds),
        speed=statistics.median(speed for _, _, speed in counted),
        products=statistics.median(seconds * speed for seconds, _, speed in counted),
        rounds=len(counted),
    )


def once(step: Callable[[], object]) -> tuple[float, float]:
    """Seconds of one step, and the MiB that it added to resident memory at its peak."""
    give_back()
    forget_peak()
    before = resident("VmRSS")
    begun = time.perf_counter()
    step()
    seconds = time.perf_counter() - begun
    return seconds, max(0.0, (resident("VmHWM") - before) / MIB)


def burst(seconds: float, factors: torch.Tensor) -> float:
    """Floating-point operations a second of square matrix products during so many seconds."""
    begun, products = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begun) < seconds or not products:
        torch.mm(factors[0], factors[1], out=factors[2])
        products += 1
    return 2 * len(factors[0]) ** 3 * products / elapsed


def give_back() -> None:
    """Freed memory goes back to the system, so that the next step has to ask for it again."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def forget_peak() -> None:
    """Resident memory's peak starts anew (where the system can do that)."""
    if CLEAR.exists():
        CLEAR.write_text("5")


def resident(name: str) -> int:
    """Bytes that are resident (VmRSS), or were at the peak (VmHWM)."""
    if STATUS.exists():
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return int(lines[name].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
