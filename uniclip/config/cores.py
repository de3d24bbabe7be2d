"""The cores of a process: how many its job requests, and how many data workers they allow."""

from __future__ import annotations

import os

from uniclip.config.device import AUTO, detect_device
from uniclip.config.schema import RunConfig

CORES_VARIABLE = "UNICLIP_CORES"
"""Environment variable with the cores of a worker on this machine."""
MAX_DERIVED_WORKERS = 16
"""Data workers at most, where `runtime.num_workers` is null."""
REQUESTED_WORKERS = 4
"""Data workers of a GPU for which a job requests cores, where `runtime.num_workers` is null."""


def derive_num_workers(config: RunConfig) -> int:
    """Return `runtime.num_workers`, or if it is null what the cores of this process allow.

    A run on CPUs computes on all of its cores, and loads its batches itself. With a GPU every core
    but those of `train.num_threads` loads batches.
    """
    if config.runtime.num_workers is not None:
        return config.runtime.num_workers
    if is_cpu(config.runtime.device):
        return 0
    spare_cores = count_process_cores() - config.train.num_threads
    return min(MAX_DERIVED_WORKERS, max(0, spare_cores))


def count_requested_cores(num_threads: int, num_workers: int | None, device: str) -> int:
    """Return the cores that a process needs.

    Args:
        num_threads: `train.num_threads`.
        num_workers: `runtime.num_workers`.
        device: `runtime.device`.
    """
    if num_workers is None:
        num_workers = 0 if is_cpu(device) else REQUESTED_WORKERS
    return num_threads + num_workers


def is_cpu(device: str) -> bool:
    """Return whether `runtime.device` is the CPU, on this machine if it is "auto"."""
    return (detect_device() if device == AUTO else device).partition(":")[0] == "cpu"


def count_process_cores() -> int:
    """Return the cores of this process: its share of those that its job was given.

    `CORES_VARIABLE` states it for a local worker, SLURM_CPUS_PER_TASK for a job of Slurm. Else they
    are those that the operating system allows, divided by the processes of torchrun.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    num_cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    for name in (CORES_VARIABLE, "SLURM_CPUS_PER_TASK"):
        if (stated_cores := _read_positive_int(name)) is not None:
            return min(stated_cores, num_cores)
    return max(1, num_cores // (_read_positive_int("LOCAL_WORLD_SIZE") or 1))


def _read_positive_int(name: str) -> int | None:
    """Return the value of an environment variable; None if it is no positive number."""
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() and int(value) > 0 else None
