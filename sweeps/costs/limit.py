"""A limit on what a sweep may take, held before its first cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ablations.plan.plan import ResolvedPlan
from sweeps.config.schema import LocalLauncherConfig, SlurmLauncherConfig, SweepConfig
from sweeps.costs import audit_scope, estimate, probe
from uniclip.errors import UserError
from uniclip.store import Store


def count_gpus_per_run(launcher: Any, device: str) -> int:
    """GPUs that one run holds; 0 for a run on processors."""
    if isinstance(launcher, SlurmLauncherConfig):
        return launcher.nodes * launcher.requested_gpus_per_node
    return 1 if device.startswith("cuda") else 0


def enforce_gpu_hours_limit(
    store: Store, resolved_plan: ResolvedPlan, run_counts: Mapping[str, int], settings: SweepConfig
) -> bool:
    """Refuse runs that would take more than `max_gpu_hours`; whether that could be judged by now.

    runs: run -> how many like it there will be. Where nothing was measured it is now, on this
    machine; on a cluster the probe job does it, and who follows up on that holds the limit. A
    processor that a run holds counts as one GPU.

    Raises:
        UserError: the estimate is above the limit, or there is none.
    """
    max_gpu_hours, plan = settings.max_gpu_hours, resolved_plan.plan
    if max_gpu_hours is None or not run_counts:
        return True
    if isinstance(settings.launcher, LocalLauncherConfig):
        probe.run_probe(store, resolved_plan)
    elif not audit_scope.has_audit(
        store.get_sweep(plan.sweep_id), audit_scope.compute_audit_key(plan)
    ):
        return False
    cost_estimates = estimate.estimate_costs(store, plan)
    arm_by_run = {c.run_id: c.arm for c in plan.cells if c.run_id in run_counts}
    unmeasured_arms = set(arm_by_run.values()) - set(cost_estimates)
    if unmeasured_arms:
        raise UserError(
            f"max_gpu_hours={max_gpu_hours:g}: {len(unmeasured_arms)} arms could not be measured; "
            "see the audit (sweep.py doctor), or leave the limit out"
        )
    gpus_per_run = count_gpus_per_run(settings.launcher, plan.base_config["runtime"]["device"]) or 1
    weighted_estimates = [
        (cost_estimates[arm], run_counts[run] * gpus_per_run / 3600)
        for run, arm in arm_by_run.items()
    ]
    expected_gpu_hours = sum(p.seconds * hours for p, hours in weighted_estimates)
    low_gpu_hours = sum(p.low * hours for p, hours in weighted_estimates)
    high_gpu_hours = sum(p.high * hours for p, hours in weighted_estimates)
    if expected_gpu_hours > max_gpu_hours:
        raise UserError(
            f"max_gpu_hours={max_gpu_hours:g}: {sum(run_counts.values())} runs would take about {expected_gpu_hours:.3g} "
            f"({low_gpu_hours:.3g} to {high_gpu_hours:.3g}); fewer seeds or arms, or a higher limit"
        )
    return True
