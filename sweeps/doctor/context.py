"""What the doctor checks: where runs would be executed, which, and what they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ablations.plan.plan import ResolvedPlan
from sweeps.config.device import resolve_device
from sweeps.config.schema import (
    LocalLauncherConfig,
    SlurmLauncherConfig,
    SweepConfig,
    describe_gpu_mismatch,
)
from sweeps.costs.estimate import CostEstimate, estimate_costs
from sweeps.doctor.cluster_info import JobRequirements
from sweeps.launchers.sbatch import build_sbatch_options, find_sbatch_variables
from sweeps.monitor.status import build_rows
from uniclip.commands.definition import EXECUTOR
from uniclip.commands.evaluation import build_evaluation_config
from uniclip.config import RunConfig
from uniclip.config.cores import count_requested_cores
from uniclip.store import Cell, Plan, Store

CHECKPOINTS_PER_ACTIVE_RUN = 3
"""Checkpoints of an active run: two that are kept, and one that is being written."""
DISK_BYTES_PER_SECOND = 100e6
"""Assumed speed of writing a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class DoctorContext:
    """What is checked: where runs would be executed, and which."""

    settings: SweepConfig
    config: RunConfig
    """The configuration of the reference arm; without an ablation, the default one."""
    store: Store
    resolved_plan: ResolvedPlan | None
    """None: no ablation was named, or its plan cannot be built."""
    submit_test_job: bool = False
    """Whether a test job may be submitted."""
    open_runs: tuple[str, ...] | None = None
    """Ids of the runs that the sweep would execute; None: they are read from the store."""
    print_line: Callable[[str], object] = lambda line: None
    """Prints a line for the user before a check that takes seconds."""

    @property
    def plan(self) -> Plan | None:
        """The plan, if there is one."""
        return None if self.resolved_plan is None else self.resolved_plan.plan

    @property
    def device(self) -> str:
        """What `runtime.device` comes to where runs are executed."""
        return resolve_device(self.config.runtime.device, self.settings.launcher)

    @property
    def slurm_launcher(self) -> SlurmLauncherConfig | None:
        """The launcher's settings if runs are executed on a cluster."""
        launcher = self.settings.launcher
        return launcher if isinstance(launcher, SlurmLauncherConfig) else None

    @property
    def num_required_gpus(self) -> int:
        """GPUs of this machine that the workers need if `device` is a GPU."""
        launcher, is_shared = self.settings.launcher, ":" in self.device
        if is_shared or not isinstance(launcher, LocalLauncherConfig):
            return 1
        workers = launcher.max_workers or 1  # by default as many as the GPUs allow
        return workers * launcher.processes_per_node

    def list_open_runs(self) -> list[str]:
        """Return the ids of the runs that the sweep would execute."""
        if self.open_runs is not None:
            return list(self.open_runs)
        if self.plan is None:
            return []
        rows = build_rows(self.store, self.plan)
        return list(dict.fromkeys(r.run for r in rows if self.settings.should_run(r.state)))

    def estimate_costs(self) -> dict[str, CostEstimate]:
        """Return arm -> estimated cost of one of its cells, as far as it was measured."""
        if self.plan is None:
            return {}
        world_size = self.settings.launcher.world_size
        return estimate_costs(self.store, self.plan, world_size=world_size)


def find_config(resolved_plan: ResolvedPlan) -> RunConfig | None:
    """Return the configuration of the reference, of a command that of device, cores and evaluation.

    None for the cells of other executors.
    """
    plan, configs = resolved_plan.plan, resolved_plan.configs
    if plan.executor == EXECUTOR:
        config = build_evaluation_config(plan.base_config["runtime"])
        return replace(config, train=replace(config.train, num_threads=plan.num_threads))
    return configs.get(plan.reference) or next(iter(configs.values()), None)


def build_requirements(context: DoctorContext, launcher: SlurmLauncherConfig) -> JobRequirements:
    """Return what the jobs of the sweep require of a cluster."""
    config, costs = context.config, context.estimate_costs().values()
    num_cores = count_requested_cores(
        config.train.num_threads, config.runtime.num_workers, context.device
    )
    has_follow_up = launcher.follow_up and not context.settings.wait
    variables, device = find_sbatch_variables(launcher), context.device
    exports_gpus = device != "cpu" and variables.requests_gpus
    return JobRequirements(
        partition=launcher.partition,
        nodes=launcher.nodes,
        timeout_min=launcher.timeout_min,
        num_jobs=len(context.list_open_runs()) or 1,
        sbatch_options=build_sbatch_options(launcher, num_cores),
        sbatch_variables=variables,
        follow_up_options=build_sbatch_options(launcher, num_cores, is_follow_up=True)
        if has_follow_up
        else (),
        follow_up_variables=find_sbatch_variables(launcher, is_follow_up=True),
        store_path=str(context.store.root),
        checkpoint_seconds=config.runtime.checkpoint_seconds,
        save_seconds=max(map(_estimate_save_seconds, costs), default=None),
        signal_delay_s=launcher.signal_delay_s,
        gpu_mismatch=""
        if exports_gpus
        else describe_gpu_mismatch(
            launcher, device, is_command=bool(context.plan and context.plan.is_scored_by_program)
        ),
    )


def _estimate_save_seconds(cost: CostEstimate) -> float:
    """Return the seconds to finish a step and to write two checkpoints.

    One may be half written when the job is signalled; the one of the last step is written after it.
    """
    write_seconds = (cost.checkpoint_bytes or 0.0) / DISK_BYTES_PER_SECOND
    return (cost.step_seconds or 0.0) + 2 * write_seconds


def estimate_bytes_needed(context: DoctorContext, runs: list[str]) -> int | None:
    """Return the bytes that runs leave, and of their checkpoints while active; None: unknown."""
    if context.plan is None:
        return None
    cost_estimates = context.estimate_costs()
    costs = [cost_estimates.get(c.arm) for c in _list_unique_cells(context.plan, runs)]
    measured_costs = [cost for cost in costs if cost is not None and cost.stored_bytes is not None]
    if len(measured_costs) < len(costs):
        return None
    num_parallel = min(len(runs), context.settings.max_parallel_runs(context.plan.num_threads))
    largest_checkpoint = max((c.checkpoint_bytes or 0.0 for c in measured_costs), default=0.0)
    stored_bytes = sum(c.stored_bytes or 0.0 for c in measured_costs)
    return round(stored_bytes + num_parallel * CHECKPOINTS_PER_ACTIVE_RUN * largest_checkpoint)


def _list_unique_cells(plan: Plan, runs: list[str]) -> list[Cell]:
    """Return one cell for each of the runs."""
    return list({c.run_id: c for c in plan.cells if c.run_id in runs}.values())
