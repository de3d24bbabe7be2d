"""Samples of the use of CPU, GPU and memory by a run, for the page of its sweep.

psutil measures the processes, and NVML the GPU, where the package nvidia-ml-py is installed (extra
`gpu`). Intervals grow with the time, so that a run of a month has few more samples than one of a
day: fewer than `SAMPLES_PER_DOUBLING` for each doubling of its length. Nothing of it is part of a
run's id or changes its numbers.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import psutil

from uniclip.io.atomic import append_jsonl
from uniclip.store import AttemptFolder

MIN_INTERVAL_S = 5.0
"""Shortest time between two samples."""
SAMPLES_PER_DOUBLING = 300
"""After so many intervals the next ones are longer in proportion to the time."""


class ResourceSampler:
    """Samples the use of this process and its children, and of its GPU if it has one.

    Records are JSON lines with time (seconds since the epoch), cpu_percent (of one core, mean since
    the last sample), memory_bytes (resident), and gpu_percent and gpu_memory_bytes of the device.
    """

    def __init__(self, attempt: AttemptFolder | None, device: str = "cpu") -> None:
        """Take the attempt to whose folder samples are written; None for none.

        Args:
            attempt: the attempt.
            device: the device of the run, such as "cpu" or "cuda:0".
        """
        self._attempt, self._device = attempt, device
        self._start, self._last_time = time.monotonic(), -MIN_INTERVAL_S
        self._last_cpu_seconds: float | None = None
        self._gpu: Any = None
        self._has_opened_gpu = False

    def sample(self) -> None:
        """Append a sample, unless the last one is recent or another process holds the claim.

        Errors are ignored: training goes on.
        """
        now = time.monotonic()
        interval = max(MIN_INTERVAL_S, (now - self._start) / SAMPLES_PER_DOUBLING)
        if self._attempt is None or now - self._last_time < interval:
            return
        with suppress(OSError, psutil.Error):
            if self._attempt.holds_claim():
                append_jsonl(self._attempt.usage_path, self._measure(now))
        self._last_time = now

    def _measure(self, now: float) -> dict[str, float]:
        cpu_seconds, memory_bytes = _measure_processes()
        record: dict[str, float] = {"time": round(time.time(), 1), "memory_bytes": memory_bytes}
        if self._last_cpu_seconds is not None:  # data workers that have ended count no longer
            spent = max(0.0, cpu_seconds - self._last_cpu_seconds)
            record["cpu_percent"] = round(100 * spent / (now - self._last_time), 1)
        self._last_cpu_seconds = cpu_seconds
        return record | self._measure_gpu()

    def _measure_gpu(self) -> dict[str, float]:
        """Return the use of the GPU; nothing without one, or without NVML."""
        if self._device == "cpu":
            return {}
        try:
            import pynvml  # the package nvidia-ml-py

            if not self._has_opened_gpu:
                self._has_opened_gpu = True
                pynvml.nvmlInit()
                self._gpu = pynvml.nvmlDeviceGetHandleByUUID(_get_gpu_uuid(self._device))
            if self._gpu is None:
                return {}
            percent = pynvml.nvmlDeviceGetUtilizationRates(self._gpu).gpu
            memory = pynvml.nvmlDeviceGetMemoryInfo(self._gpu).used
        except Exception:  # no library, no driver, no permission: there is nothing to show
            self._has_opened_gpu, self._gpu = True, None
            return {}
        return {"gpu_percent": float(percent), "gpu_memory_bytes": float(memory)}


def _measure_processes() -> tuple[float, float]:
    """Return CPU seconds and resident bytes of this process and its children."""
    process = psutil.Process()
    seconds, memory_bytes = 0.0, 0.0
    for member in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):
            times = member.cpu_times()
            seconds += times.user + times.system
            memory_bytes += member.memory_info().rss
    return seconds, memory_bytes


def _get_gpu_uuid(device: str) -> str:
    """Return the UUID of a CUDA device, as NVML takes it: torch may number them otherwise."""
    import torch

    uuid = torch.cuda.get_device_properties(torch.device(device)).uuid
    return f"GPU-{str(uuid).removeprefix('GPU-')}"
