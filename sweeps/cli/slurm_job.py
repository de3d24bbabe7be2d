"""A job on Slurm: it proves the arms, executes its cells, or follows up on the sweep.

    python -m sweeps.cli.slurm_job <store> <sweep id> <token>

It reads what it is from its token's intent: nothing is unpickled, no import but the cell's own
is paid. A job that is asked to stop while it may run on (preemption, time limit) saves, and
puts itself back in the queue; there it starts again and continues from what the store says.
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
from sweeps.costs.audit_scope import AuditKey
from sweeps.launchers import code_snapshot
from sweeps.launchers.worker import STOP_SIGNALS, StopFlag, Worker, run_audit
from uniclip.config import plugins
from uniclip.identity import ROOT
from uniclip.store import Plan, Store, SubmissionIntent

TIME_LIMIT_TOLERANCE_SECONDS = slurm.MAX_EARLY_SIGNAL_SECONDS + 30
"""So much earlier than asked may a signal be that is still one of the time limit."""
RETRY_LATER_STATUS = 75
"""What a follow-up's command line ends with where the same may do later (EX_TEMPFAIL)."""
MAX_FOLLOW_UP_REQUEUES = 720
"""So often a follow-up comes back (Slurm starts what was requeued two minutes later): a day."""
REQUEUE_RETRY_SECONDS = 60.0
"""Between two questions to a Slurm that does not answer."""


@dataclass(frozen=True)
class SlurmJob:
    """One element of a submission."""

    store: Store
    intent: SubmissionIntent
    plan: Plan
    runs: tuple[str, ...]

    def __call__(self) -> None:
        stop = StopFlag()
        stop.reason = partial(
            find_stop_reason, self.intent.signal_delay_s + TIME_LIMIT_TOLERANCE_SECONDS
        )
        stop.install_signal_handlers()
        plugins.import_plugins(self.plan.plugins)
        if self.store.snapshot_path(ROOT.name) == ROOT:
            code_snapshot.verify_snapshot(ROOT)
        if self.intent.kind != "follow_up":
            self._execute(stop)
        elif os.environ.get("SLURM_PROCID", "0") == "0":
            run_follow_up(self.store, self.intent)

    def _execute(self, stop: StopFlag) -> None:
        retry_attempts, force_attempts = self.intent.retry_attempts, self.intent.force_attempts
        worker = Worker(
            store=self.store,
            plan=self.plan,
            stop=stop,
            retry_attempts=retry_attempts,
            force_attempts=force_attempts,
        )
        if count_tasks() == 1:
            self._run_element(worker)
            return
        try:
            self._execute_distributed(worker, stop)
        except BaseException:
            traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(1)  # an orderly end would wait for the others, who wait for this process

    def _execute_distributed(self, worker: Worker, stop: StopFlag) -> None:
        """Be one of the processes that do this element's work together."""
        from submitit.helpers import TorchDistributedEnvironment  # here: it is for several

        TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        cell_module = worker.cell_module
        rank = cell_module.join(self.plan.base_config)
        if self.intent.kind == "audit":
            self._run_element(worker)
        elif rank == 0:
            worker.on_claim = cell_module.share
            self._run_element(worker)
            cell_module.share(None)
        else:
            while (run_id := cell_module.share()) is not None:
                cell_module.assist(
                    self.store.get_run(run_id), worker.select_run_only_values(run_id), stop
                )
        cell_module.leave()

    def _run_element(self, worker: Worker) -> None:
        """Prove the arms; or take this element's runs, one after another, and then say how it went,
        as Slurm sees it."""
        if self.intent.kind == "audit":
            device = self.intent.audit_device or self.plan.base_config["runtime"]["device"]
            training_hash = self.intent.submitter.training_hash
            run_audit(self.store, self.plan, AuditKey(training_hash=training_hash, device=device))
            return
        failed_runs = []
        for run_id in self.runs:
            end_kind = None if worker.stop() else worker.claim_and_execute(run_id)
            if end_kind == "failed" or (end_kind == "interrupted" and not worker.stop()):
                failed_runs.append(run_id)
                if count_tasks() > 1:
                    break  # the others stand in the middle of it: only an end frees them
        if worker.stop():
            requeue_if_running()
        if failed_runs:
            log_folder = worker.store.root / "runs"
            raise RuntimeError(f"failed: {', '.join(failed_runs)}; their logs are in {log_folder}")


def main(argv: Sequence[str]) -> None:
    """Be the element of a submission that this Slurm job is."""
    store_root, sweep, token = argv
    store = Store(store_root)
    sweep_folder = store.get_sweep(sweep)
    plan, intent = sweep_folder.read_plan(), sweep_folder.read_intent(token)
    assert plan is not None, "a plan is written before anything is submitted"
    assert intent is not None, "and so is the intent"
    element_index = int(os.environ.get("SLURM_ARRAY_TASK_ID", 0))
    SlurmJob(store, intent, plan, intent.array_tasks[element_index])()


def count_tasks() -> int:
    """Processes that share this job."""
    return int(os.environ.get("SLURM_NTASKS", 1))


def find_stop_reason(notice_seconds: float) -> str | None:
    """Why Slurm asks this job to stop, as far as it says; a time limit is told within `notice`
    seconds of it."""
    job_id = slurm.get_job_id()
    job_fields = slurm.query_job(job_id) if job_id else None
    if not job_fields:
        return None
    state = job_fields.get("JobState", "")
    if state in slurm.END_REASONS:
        return slurm.END_REASONS[state]
    if job_fields.get("PreemptTime", "None") not in ("None", "Unknown"):
        return "preempted"
    seconds_left = _seconds_until(job_fields.get("EndTime", ""))
    return "timed out" if seconds_left is not None and seconds_left < notice_seconds else None


def requeue_if_running() -> bool:
    """Requeue this job if Slurm still has it as running; else it was cancelled, and stays so.
    Whether Slurm has heard it."""
    job_id = slurm.get_job_id()
    job_fields = slurm.query_job(job_id) if job_id else {}
    if job_id and job_fields and job_fields.get("JobState") == "RUNNING":
        return slurm.requeue_job(job_id)
    return job_fields is not None


def run_follow_up(store: Store, intent: SubmissionIntent) -> None:
    """Run the command line of the sweep again: it submits what is open, or reports.

    Where it leaves nobody behind who would go on, this job itself comes back later.
    """
    from sweeps.cli import main as cli

    os.environ[slurm.FOLLOW_UP_VARIABLE] = intent.token
    for signal_number in STOP_SIGNALS:  # as Ctrl-C: a report that takes too long is begun again
        signal.signal(signal_number, signal.default_int_handler)
    exit_status = cli.main(
        [*intent.follow_up_argv, f"store={store.root}"], retry_later_status=RETRY_LATER_STATUS
    )
    for signal_number in STOP_SIGNALS:
        signal.signal(signal_number, signal.SIG_IGN)
    if (
        exit_status in (RETRY_LATER_STATUS, cli.EXIT_INTERRUPTED)
        and slurm.get_restart_count() < MAX_FOLLOW_UP_REQUEUES
    ):
        print("this job comes back later", flush=True)
        while not requeue_if_running():
            time.sleep(REQUEUE_RETRY_SECONDS)
    elif exit_status in (cli.EXIT_USER_ERROR, cli.EXIT_INTERRUPTED, RETRY_LATER_STATUS):
        raise RuntimeError(f"the follow-up ended with status {exit_status}")


def _seconds_until(timestamp: str) -> float | None:
    try:
        return time.mktime(time.strptime(timestamp, "%Y-%m-%dT%H:%M:%S")) - time.time()
    except ValueError:
        return None


if __name__ == "__main__":
    main(sys.argv[1:])
