"""Time, memory and the speed of the machine, measured together.

On a shared machine the speed of computation can change by half within a minute. So each step is
timed between two bursts of matrix products of about the step's length, and its time is related to
their speed.
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

PROC_STATUS, PROC_CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MIN_BURST_SECONDS, MAX_BURST_SECONDS = 0.2, 10.0
MIB = 2**20


@dataclass(frozen=True)
class Repetition:
    """How often a step is repeated."""

    rounds: int = 5
    """Largest number of rounds that count; one more before them does not."""
    seconds: float = 30.0
    """No round starts later than this."""
    burst_seconds: float = MIN_BURST_SECONDS
    """Length of the shortest burst."""
    matrix_size: int = 2048
    """Rows and columns of the matrices of a burst."""


@dataclass(frozen=True)
class Measurement:
    """Medians over the rounds that count."""

    seconds: float
    mib: float
    """Largest increase of resident memory during a step."""
    flops_per_second: float
    """Floating-point operations per second of the bursts."""
    equivalent_flops: float
    """Floating-point operations that the bursts would have done in the time of the step."""
    rounds: int


def measure_step(step: Callable[[], object], repetition: Repetition) -> Measurement:
    """Repeat the step between bursts of matrix products; return medians."""
    rounds: list[tuple[float, float, float]] = []
    matrices = torch.randn(3, repetition.matrix_size, repetition.matrix_size)
    speed_before = run_burst(repetition.burst_seconds, matrices)
    start = time.perf_counter()
    while not rounds or (
        len(rounds) <= repetition.rounds and time.perf_counter() - start < repetition.seconds
    ):
        seconds, extra_mib = run_once(step)
        burst_seconds = min(max(seconds, repetition.burst_seconds), MAX_BURST_SECONDS)
        speed_after = run_burst(burst_seconds, matrices)
        rounds.append((seconds, extra_mib, (speed_before + speed_after) / 2))
        speed_before = speed_after
    counted = rounds[1:] or rounds
    return Measurement(
        seconds=statistics.median(seconds for seconds, _, _ in counted),
        mib=max(extra_mib for _, extra_mib, _ in rounds),
        flops_per_second=statistics.median(speed for _, _, speed in counted),
        equivalent_flops=statistics.median(seconds * speed for seconds, _, speed in counted),
        rounds=len(counted),
    )


def run_once(step: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of one step, and the MiB that it added to resident memory at its peak."""
    trim_memory()
    reset_peak_memory()
    resident_before = read_resident_bytes("VmRSS")
    start = time.perf_counter()
    step()
    seconds = time.perf_counter() - start
    return seconds, max(0.0, (read_resident_bytes("VmHWM") - resident_before) / MIB)


def run_burst(seconds: float, matrices: torch.Tensor) -> float:
    """Multiply square matrices for so many seconds; return floating-point operations a second."""
    start, products = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds or not products:
        torch.mm(matrices[0], matrices[1], out=matrices[2])
        products += 1
    return 2 * len(matrices[0]) ** 3 * products / elapsed


def trim_memory() -> None:
    """Return freed memory to the system, so that the next step has to request it again."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def reset_peak_memory() -> None:
    """Reset the peak of resident memory, on systems that can."""
    if PROC_CLEAR_REFS.exists():
        PROC_CLEAR_REFS.write_text("5")


def read_resident_bytes(name: str) -> int:
    """Return the bytes that are resident ("VmRSS") or were at the peak ("VmHWM")."""
    if PROC_STATUS.exists():
        lines = dict(line.split(":", 1) for line in PROC_STATUS.read_text().splitlines())
        return int(lines[name].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
