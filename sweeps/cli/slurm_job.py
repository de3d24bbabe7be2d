"""A Slurm job: it executes runs, makes the audit, or is the follow-up of a sweep.

    python -m sweeps.cli.slurm_job <store> <sweep id> <token>

The job reads what to do from the intent of its token; nothing is unpickled, and only what the cell
needs is imported. If Slurm asks it to stop while it may run again (preemption, time limit), it
writes a checkpoint and requeues itself. It then starts again and continues from the store.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sweeps import slurm
from sweeps.controller.changed_data import describe_changed_data
from sweeps.costs.audit_run import run_audit
from sweeps.costs.audit_scope import AuditKey, find_refusal
from sweeps.launchers import code_snapshot
from sweeps.launchers.attempt_execution import STOP_SIGNALS, StopFlag
from sweeps.launchers.cell_executor import load_distributed_executor
from sweeps.launchers.worker import Worker
from sweeps.slurm_environment import restore_sbatch_variables
from uniclip.config import plugins
from uniclip.config.overrides import LiteralOverride
from uniclip.identity import ROOT
from uniclip.store import EndReason, Plan, Store, SubmissionIntent

TIME_LIMIT_TOLERANCE_SECONDS = slurm.MAX_EARLY_SIGNAL_SECONDS + 30
"""A signal that is this much earlier than requested still counts as that of the time limit."""
RETRY_LATER_STATUS = 75
"""Exit status of a follow-up's command line that may succeed later (EX_TEMPFAIL)."""
MAX_FOLLOW_UP_REQUEUES = 720
"""Requeues of a follow-up job: one day, since Slurm starts a requeued job two minutes later."""
REQUEUE_RETRY_SECONDS = 60.0
"""Time between two attempts to requeue if Slurm does not answer."""


@dataclass(frozen=True)
class SlurmJob:
    """One job, or one task of an array."""

    store: Store
    intent: SubmissionIntent
    plan: Plan
    runs: tuple[str, ...]

    def __call__(self) -> None:
        stop = StopFlag()
        stop.find_reason = partial(
            find_stop_reason, self.intent.signal_delay_s + TIME_LIMIT_TOLERANCE_SECONDS
        )
        stop.install_signal_handlers()
        plugins.import_plugins(self.plan.plugins)
        if self.store.snapshot_path(ROOT.name) == ROOT:
            code_snapshot.verify_snapshot(ROOT)
        if self.intent.kind != "follow_up":
            self._execute(stop)
        elif os.environ.get("SLURM_PROCID", "0") == "0":
            if (change := describe_changed_data(self.store, self.plan)) is not None:
                raise RuntimeError(f"{change}; this job starts no sweep of other data")
            run_follow_up(self.store, self.intent)

    def _execute(self, stop: StopFlag) -> None:
        worker = Worker(
            store=self.store, plan=self.plan, stop=stop, policy=self.intent.retry_policy
        )
        if count_tasks() == 1:
            self._execute_runs(worker)
            return
        try:
            self._execute_distributed(worker, stop)
        except BaseException:
            traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(
                1
            )  # a regular exit would wait for the other processes, which wait for this one

    def _execute_distributed(self, worker: Worker, stop: StopFlag) -> None:
        """Take part in executing the runs of this job in several processes."""
        from submitit.helpers import TorchDistributedEnvironment  # not needed by a single process

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        executor = load_distributed_executor(self.plan.executor)
        rank = executor.init_process_group(self.plan.base_config)
        if self.intent.kind == "audit":
            self._execute_runs(worker)
        elif rank == 0:
            worker.on_claim = executor.broadcast_object
            self._execute_runs(worker)
            executor.broadcast_object(None)
        else:
            while (run_id := executor.broadcast_object()) is not None:
                executor.run_nonzero_rank(
                    self.store.get_run(run_id), worker.run_only_values(run_id), stop
                )
        executor.destroy_process_group()

    def _execute_runs(self, worker: Worker) -> None:
        """Make the audit, or execute the runs of this job one after another.

        Raises:
            RuntimeError: a run failed; Slurm then shows the job as failed.
        """
        if self.intent.kind == "audit":
            audit_key = AuditKey(
                training_hash=self.intent.submitter.training_hash,
                device=self.intent.audit_device or self.plan.device,
                world_size=self.intent.audit_world_size,
            )
            run_audit(self.store, self.plan, audit_key, worker.stop)
            return
        refusal = find_refusal(self.store.get_sweep(self.plan.sweep_id), self.plan)
        if refusal is not None:
            raise RuntimeError(refusal)
        failed_runs = []
        for run_id in self.runs:
            exit_kind = None if worker.stop() else worker.claim_and_execute(run_id)
            if exit_kind == "failed" or (exit_kind == "interrupted" and not worker.stop()):
                failed_runs.append(run_id)
                if count_tasks() > 1:
                    break  # the other processes wait in this run until the job ends
        if worker.stop():
            requeue_if_running()
        if failed_runs:
            log_folder = worker.store.root / "runs"
            raise RuntimeError(f"failed: {', '.join(failed_runs)}; their logs are in {log_folder}")


def main(argv: Sequence[str]) -> None:
    """Do the work of this Slurm job."""
    store_root, sweep_id, token = argv
    store = Store(store_root)
    store.share_with_group()
    sweep_folder = store.get_sweep(sweep_id)
    plan, intent = sweep_folder.read_plan(), sweep_folder.read_intent(token)
    assert plan is not None, "a plan is written before anything is submitted"
    assert intent is not None, "an intent is recorded before anything is submitted"
    task_index = int(os.environ.get("SLURM_ARRAY_TASK_ID", 0))
    SlurmJob(store, intent, plan, intent.array_tasks[task_index])()


def count_tasks() -> int:
    """Return the number of processes of this job."""
    return int(os.environ.get("SLURM_NTASKS", 1))


def find_stop_reason(notice_seconds: float) -> EndReason | None:
    """Return why Slurm asks this job to stop, if that is known.

    Args:
        notice_seconds: time before the time limit from which on a signal is attributed to it.
    """
    job_id = slurm.get_job_id()
    job_fields = slurm.query_job(job_id) if job_id else None
    if not job_fields:
        return None
    state = job_fields.get("JobState", "")
    if state in slurm.END_REASONS:
        return slurm.END_REASONS[state]
    if job_fields.get("PreemptTime", "None") not in ("None", "Unknown"):
        return EndReason.PREEMPTED
    seconds_left = _seconds_until(job_fields.get("EndTime", ""))
    if seconds_left is not None and seconds_left < notice_seconds:
        return EndReason.TIMEOUT
    return None


def requeue_if_running() -> bool:
    """Requeue this job if Slurm shows it as running; a cancelled job stays cancelled.

    Returns:
        Whether Slurm answered.
    """
    job_id = slurm.get_job_id()
    job_fields = slurm.query_job(job_id) if job_id else {}
    if job_id and job_fields and job_fields.get("JobState") == "RUNNING":
        return slurm.requeue_job(job_id)
    return job_fields is not None


def run_follow_up(store: Store, intent: SubmissionIntent) -> None:
    """Run the command line of the sweep again: it submits what is open, or writes the report.

    If no other job is left that continues the sweep, this job requeues itself.

    Raises:
        RuntimeError: the command failed.
    """
    from sweeps.cli import main as cli

    os.environ[slurm.FOLLOW_UP_VARIABLE] = intent.token
    restore_sbatch_variables(intent.sbatch_variables)
    for signal_number in STOP_SIGNALS:  # as Ctrl-C: an interrupted report is built again later
        signal.signal(signal_number, signal.default_int_handler)
    exit_status = cli.main(
        [*intent.follow_up_argv, LiteralOverride(f"store={store.root}")],
        retry_later_status=RETRY_LATER_STATUS,
    )
    for signal_number in STOP_SIGNALS:
        signal.signal(signal_number, signal.SIG_IGN)
    if (
        exit_status in (RETRY_LATER_STATUS, cli.EXIT_INTERRUPTED)
        and slurm.get_restart_count() < MAX_FOLLOW_UP_REQUEUES
    ):
        print("this job requeues itself and runs again later", flush=True)
        while not requeue_if_running():
            time.sleep(REQUEUE_RETRY_SECONDS)
    elif exit_status in (cli.EXIT_USER_ERROR, cli.EXIT_INTERRUPTED, RETRY_LATER_STATUS):
        raise RuntimeError(f"the follow-up ended with status {exit_status}")


def _seconds_until(timestamp: str) -> float | None:
    """Return the seconds until a time as Slurm prints it; None if it is not a time."""
    try:
        return time.mktime(time.strptime(timestamp, "%Y-%m-%dT%H:%M:%S")) - time.time()
    except ValueError:
        return None


if __name__ == "__main__":
    main(sys.argv[1:])
