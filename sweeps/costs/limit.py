"""A limit on what a sweep may take, held before its first cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablations.plan.plan import Planned
from sweeps.config.request import LocalLauncher, SlurmLauncher, SweepConfig
from sweeps.costs import audit_scope, estimate, probe
from uniclip.errors import UserError
from uniclip.store import Store


def devices(launcher: Any, device: str) -> int:
    """GPUs that one run holds; 0 for a run on processors."""
    if isinstance(launcher, SlurmLauncher):
        return launcher.nodes * launcher.gpus
    return 1 if device.startswith("cuda") else 0


def hold(store: Store, planned: Planned, runs: Mapping[str, int], settings: SweepConfig) -> bool:
    """Refuse runs that would take more than `max_gpu_hours`; whether that could be judged by now.

    runs: run -> how many like it there will be. Where nothing was measured it is now, on this
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
    elif not audit_scope.audited(store.sweep(plan.sweep), audit_scope.basis(plan)):
        return False
    known = estimate.prices(store, plan)
    arms = {c.run: c.arm for c in plan.cells if c.run in runs}
    lacking = set(arms.values()) - set(known)
    if lacking:
        raise UserError(
            f"max_gpu_hours={most:g}: {len(lacking)} arms could not be measured; "
            "see the audit (sweep.py doctor), or leave the limit out"
        )
    each = devices(settings.launcher, plan.base["runtime"]["device"]) or 1
    priced = [(known[arm], runs[run] * each / 3600) for run, arm in arms.items()]
    middle = sum(p.seconds * hours for p, hours in priced)
    low = sum(p.low * hours for p, hours in priced)
    high = sum(p.high * hours for p, hours in priced)
    if middle > most:
        raise UserError(
            f"max_gpu_hours={most:g}: {sum(runs.values())} runs would take about {middle:.3g} "
            f"({low:.3g} to {high:.3g}); fewer seeds or arms, or a higher limit"
        )
    return True
