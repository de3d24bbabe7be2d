"""Check of data loading: whether data workers make batches as fast as steps are computed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from sweeps.costs.estimate import read_probes
from sweeps.doctor.context import DoctorContext
from sweeps.doctor.diagnostic import Diagnostic, ok, warning
from uniclip.config.cores import is_cpu

CHECK = "data loading"
MAX_DATA_WAIT = 0.1
"""Share of the time of a step that may be spent waiting for data."""


def check_data_loading(context: DoctorContext) -> Iterator[Diagnostic]:
    """Compare the rate of batches with that of steps, of the arm that waits for data longest.

    Nothing is said of arms that were not measured. A run on CPUs loads its batches between two
    steps: with data workers it would wait for its cores instead.
    """
    if context.plan is None:
        return
    world_size = context.settings.launcher.world_size
    sweep_folder = context.store.get_sweep(context.plan.sweep_id)
    probes = read_probes(sweep_folder, context.plan.device, world_size)
    waits = {
        arm: compute_data_wait(probe)
        for arm, probe in probes.items()
        if "data_seconds_per_step" in probe
    }
    if not waits:
        return
    arm = max(waits, key=lambda name: waits[name])
    probe, num_workers = probes[arm], probes[arm]["num_workers"]
    data_seconds, compute_seconds = (
        probe["data_seconds_per_step"],
        probe["compute_seconds_per_step"],
    )
    message = (
        f"{arm} waits for data in {100 * waits[arm]:.0f} % of its time with {num_workers} data "
        f"workers: one process makes a batch in {data_seconds:.3g} s, a step takes "
        f"{compute_seconds:.3g} s"
    )
    if waits[arm] <= MAX_DATA_WAIT or (is_cpu(context.plan.device) and num_workers == 0):
        yield ok(CHECK, message)
        return
    needed_workers = max(1, math.ceil(data_seconds / max(compute_seconds, 1e-9)))
    fix = f"runtime.num_workers={min(64, needed_workers)}"
    launcher = context.slurm_launcher
    if launcher is not None and launcher.cpus_per_task is not None:
        num_cores = min(64, needed_workers) + context.plan.num_threads
        fix += f" launcher.cpus_per_task={num_cores}"
    yield warning(CHECK, message, f"{fix}, if there are so many cores")


def compute_data_wait(probe: Mapping[str, Any]) -> float:
    """Return the share of the time of a step that an arm waits for data, by its probe."""
    step_seconds = probe["seconds_per_step"]
    return max(0.0, 1 - probe["compute_seconds_per_step"] / step_seconds) if step_seconds else 0.0
