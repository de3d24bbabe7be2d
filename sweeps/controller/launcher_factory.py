"""Building the launcher of a sweep: workers on this machine, or jobs on a Slurm cluster.

The modules of a launcher are imported when it is built: a plan or a status needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sweeps.config.schema import LocalLauncherConfig, SlurmLauncherConfig, SweepConfig
from sweeps.costs.audit_scope import AuditKey
from sweeps.doctor.device import count_checked_gpus
from sweeps.launchers import code_snapshot
from sweeps.launchers.base import Launcher
from uniclip.store import Plan, RetryPolicy, Store

if TYPE_CHECKING:
    from sweeps.launchers.slurm import SlurmLauncher


def count_workers(settings: SweepConfig, plan: Plan) -> int:
    """Return how many runs are executed in parallel; on this machine its GPUs are the limit."""
    num_workers, launcher = settings.max_parallel_runs(plan.num_threads), settings.launcher
    if not isinstance(launcher, LocalLauncherConfig) or launcher.max_workers is not None:
        return num_workers
    num_gpus = count_checked_gpus(plan.device) if plan.device == "cuda" else None
    if not num_gpus:
        return num_workers
    return min(num_workers, max(1, num_gpus // launcher.processes_per_node))


def build_local_launcher(
    store: Store,
    plan: Plan,
    policy: RetryPolicy,
    num_workers: int,
    find_open_audit: Callable[[], AuditKey | None],
    processes_per_run: int = 1,
) -> Launcher:
    """Return the launcher of workers on this machine.

    Args:
        store: the store of the sweep.
        plan: the plan that is run.
        policy: attempts that are retried or declared dead.
        num_workers: the number of workers.
        find_open_audit: returns the audit that is still to be made, or None.
        processes_per_run: processes that execute a run together.
    """
    from sweeps.launchers.local import LocalLauncher
    from sweeps.launchers.worker import WorkerJob

    def build_worker_job(runs_audit: bool) -> WorkerJob:
        return WorkerJob(
            store_root=str(store.root),
            sweep_id=plan.sweep_id,
            policy=policy,
            runs_audit=runs_audit,
            audit_key=find_open_audit(),
        )

    log_folder = store.get_sweep(plan.sweep_id).worker_logs_path
    return LocalLauncher(log_folder, plan.device, num_workers, build_worker_job, processes_per_run)


def build_debug_launcher(
    store: Store,
    plan: Plan,
    policy: RetryPolicy,
    find_open_audit: Callable[[], AuditKey | None],
) -> Launcher:
    """Return the launcher that executes cells in this process; see `build_local_launcher`."""
    from sweeps.launchers.debug import DebugLauncher

    return DebugLauncher(store, plan, policy, find_open_audit)


def build_slurm_launcher(
    store: Store,
    plan: Plan,
    policy: RetryPolicy,
    settings: SweepConfig,
    follow_up_argv: tuple[str, ...],
    print_line: Callable[[str], None],
) -> SlurmLauncher:
    """Return the launcher that submits jobs; it makes the copy of the code that they import.

    Args:
        store: the store of the sweep.
        plan: the plan that is run.
        policy: attempts that are retried or declared dead.
        settings: the sweep's settings, with the launcher's.
        follow_up_argv: command line of the follow-up job.
        print_line: prints a line for the user.
    """
    from sweeps.launchers.job_submitter import SubmitOptions
    from sweeps.launchers.slurm import SlurmLauncher

    assert isinstance(settings.launcher, SlurmLauncherConfig)
    options = SubmitOptions(
        store=store,
        sweep_id=plan.sweep_id,
        launcher_config=settings.launcher,
        num_cores=plan.num_cores,
        device=plan.device,
        follow_up_argv=follow_up_argv,
        policy=policy,
        blocking=settings.wait,
    )
    return SlurmLauncher(options, code_snapshot.create_snapshot(store), print_line)
