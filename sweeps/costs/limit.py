"""The GPU-hour limit of a sweep, checked before its first cell."""

from __future__ import annotations

from collections.abc import Mapping

from ablations.plan.plan import ResolvedPlan
from sweeps.config.schema import LocalLauncherConfig, SlurmLauncherConfig
from sweeps.costs import estimate, probe
from sweeps.costs.audit_scope import compute_audit_key, has_audit
from uniclip.errors import UserError
from uniclip.store import Store


def count_gpus_per_run(launcher: LocalLauncherConfig | SlurmLauncherConfig, device: str) -> int:
    """Return the GPUs that one run uses; 0 for a run on CPUs."""
    if isinstance(launcher, SlurmLauncherConfig):
        return launcher.nodes * launcher.requested_gpus_per_node
    return launcher.processes_per_node if device.startswith("cuda") else 0


def enforce_gpu_hours_limit(
    store: Store,
    resolved_plan: ResolvedPlan,
    run_counts: Mapping[str, int],
    *,
    max_gpu_hours: float | None,
    launcher: LocalLauncherConfig | SlurmLauncherConfig,
) -> bool:
    """Raise if some runs would take more than `max_gpu_hours`; return whether that was checked.

    Arms that were not measured yet are measured first: on this machine, or on a cluster by the
    audit job, whose follow-up job then checks the limit. A worker without a GPU counts as one GPU.

    Args:
        store: the store of the sweep.
        resolved_plan: the plan of the runs.
        run_counts: run id -> number of runs that cost as much.
        max_gpu_hours: the limit; None: no limit.
        launcher: where the runs are executed.

    Raises:
        UserError: the estimated cost is above the limit, or is not known.
    """
    plan = resolved_plan.plan
    if max_gpu_hours is None or not run_counts:
        return True
    if isinstance(launcher, LocalLauncherConfig):
        probe.run_probe(store, resolved_plan, launcher.world_size)
    elif not has_audit(
        store.get_sweep(plan.sweep_id), compute_audit_key(plan, launcher.world_size)
    ):
        return False
    cost_estimates = estimate.estimate_costs(store, plan, world_size=launcher.world_size)
    arm_by_run = {c.run_id: c.arm for c in plan.cells if c.run_id in run_counts}
    unmeasured_arms = set(arm_by_run.values()) - set(cost_estimates)
    if unmeasured_arms:
        raise UserError(
            f"max_gpu_hours={max_gpu_hours:g}: {len(unmeasured_arms)} arms could not be measured; "
            "see the audit (sweep.py doctor), or leave the limit out"
        )
    gpus_per_run = count_gpus_per_run(launcher, plan.device)
    hours_per_second = (gpus_per_run or 1) / 3600
    weighted_estimates = [
        (cost_estimates[arm], run_counts[run] * hours_per_second) for run, arm in arm_by_run.items()
    ]
    total = sum(e.seconds * weight for e, weight in weighted_estimates)
    low = sum(e.low * weight for e, weight in weighted_estimates)
    high = sum(e.high * weight for e, weight in weighted_estimates)
    if total > max_gpu_hours:
        unit = "GPU-hours" if gpus_per_run else "CPU worker hours (each counts as a GPU-hour)"
        raise UserError(
            f"max_gpu_hours={max_gpu_hours:g}: {sum(run_counts.values())} runs would take about "
            f"{total:.3g} {unit} ({low:.3g} to {high:.3g}); "
            "choose fewer seeds or arms, or a higher limit"
        )
    return True
