"""A limit on what a sweep may take, held before its first cell."""

from __future__ import annotations

from typing import Any

from ablations.plan import Planned
from sweeps import price, probe, proof
from sweeps.settings import LocalLauncher, SlurmLauncher, SweepConfig
from uniclip.errors import UserError
from uniclip.store import Store


def devices(launcher: Any, device: str) -> int:
    """GPUs that one run holds; 0 for a run on processors."""
    if isinstance(launcher, SlurmLauncher):
        return launcher.nodes * launcher.gpus
    return 1 if device.startswith("cuda") else 0


def hold(
    store: Store, planned: Planned, runs: list[str], settings: SweepConfig, times: int = 1
) -> bool:
    """Refuse runs that would take more than `max_gpu_hours`; whether that could be judged by now.

    times: runs like each of them, as a tuning makes. Where nothing was measured it is now, on this
    machine; on a cluster the probe job does it, and who follows up on that holds the limit. A
    processor that a run holds counts as one GPU.

    Raises:
        UserError: the estimate is above the limit, or there is none.
    """
    most, plan = settings.max_gpu_hours, planned.plan
    if most is None or not runs:
        return True
    if isinstance(settings.launcher, LocalLauncher):
        probe.here(store, planned)
    elif not proof.audited(store.sweep(plan.sweep), proof.basis(plan)):
        return False
    sum_ = price.total(plan, runs, price.prices(store, plan))
    each = devices(settings.launcher, plan.base["runtime"]["device"]) or 1
    hours = times * each / 3600
    low, middle, high = (s * hours for s in (sum_.low, sum_.seconds, sum_.high))
    if sum_.lacking:
        raise UserError(
            f"max_gpu_hours={most:g}: {sum_.lacking} arms could not be measured; "
            "see the audit (sweep.py doctor), or leave the limit out"
        )
    if middle > most:
        raise UserError(
            f"max_gpu_hours={most:g}: {sum_.runs * times} runs would take about {middle:.3g} "
            f"({low:.3g} to {high:.3g}); fewer seeds or arms, or a higher limit"
        )
    return True
