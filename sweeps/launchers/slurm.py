"""Arrays of jobs on a Slurm cluster, through submitit; one cell an element, or several short ones.

A controller submits what is open and not in the queue already, and one small job that follows up
when all of it has ended, by running the same command again from the same code.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeps.claims import process
from sweeps.claims.claim import RunState
from sweeps.config.schema import SlurmLauncherConfig
from sweeps.costs import estimate
from sweeps.costs.audit_scope import AuditKey, has_audit
from sweeps.launchers.submissions import SubmissionRejected, Submissions
from sweeps.slurm import JOB_NAME_PREFIX, Slurm, drop_request_variables, get_job_id, in_follow_up
from uniclip.errors import RetryLater, UserError
from uniclip.identity import compute_training_hash
from uniclip.store import Store, SubmissionIntent, SweepFolder

RETRYABLE_REJECTIONS = ("limit", "policy", "temporarily unable", "temporarily unavailable")
"""Words of sbatch's refusals that fewer jobs, or later ones, may not meet."""
MIN_JOB_SECONDS = 600.0
"""Cells shorter than this share a job until it is so long, where they have been measured."""
FOLLOW_UP_MINUTES, FOLLOW_UP_SIGNAL_SECONDS = 60, 60


@dataclass(frozen=True, kw_only=True)
class SubmitOptions:
    """What a controller asks of the queue."""

    store: Store
    sweep: str
    launcher_config: SlurmLauncherConfig
    threads: int
    """Compute threads of a training."""
    device: str = "cpu"
    """That trainings ask for."""
    follow_up_argv: tuple[str, ...]
    """The overrides of the command line, for who follows up."""
    retry_attempts: tuple[tuple[str, int], ...] = ()
    force_attempts: tuple[tuple[str, int], ...] = ()
    blocking: bool = False


class SlurmLauncher:
    """A crew on a cluster."""

    def __init__(
        self, options: SubmitOptions, snapshot_folder: Path, print_line: Callable[[str], None]
    ) -> None:
        """code: the snapshot that jobs import from; say: prints a line for the user."""
        self.options, self.snapshot_folder, self.print_line = options, snapshot_folder, print_line
        self.blocking, self.poll_seconds = options.blocking, options.launcher_config.poll_seconds
        self.sweep_folder: SweepFolder = options.store.get_sweep(options.sweep)
        self.submissions = Submissions(self.sweep_folder, Slurm())
        self.audit_key = AuditKey(training_hash=compute_training_hash(), device=options.device)
        self._automatic = in_follow_up()

    def submit(self, runnable_runs: list[str], states: Mapping[str, RunState]) -> None:
        """Submit what is open and in no job, and somebody who follows up.

        Raises:
            UserError: Slurm takes nothing, or jobs end before they take a cell.
            NotNow: Slurm does not answer, or takes nothing now; or who follows up has no follower.
        """
        self.submissions.reconcile()
        self._cancel_forced_jobs(runnable_runs)
        jobs_by_run = self.submissions.map_runs_to_jobs(
            {*self.options.retry_attempts, *self.options.force_attempts}
        )
        unqueued_runs = [run for run in runnable_runs if run not in jobs_by_run]
        if unqueued_runs and not has_audit(self.sweep_folder, self.audit_key):
            if self._automatic and self.submissions.audit_lacks_progress():
                raise self._build_no_progress_error()
            self.submit_audit(unqueued_runs[0])
        elif unqueued_runs:
            attempts = {run: state.attempt for run, state in states.items()}
            runs_without_progress = {
                r
                for r in unqueued_runs
                if self._automatic and self.submissions.run_lacks_progress(r, attempts)
            }
            if runs_without_progress.issuperset(unqueued_runs) and not self._list_other_jobs():
                raise self._build_no_progress_error()
            self._submit_cells(
                [run for run in unqueued_runs if run not in runs_without_progress], states
            )
        if self.options.launcher_config.follow_up and not self.blocking:
            self._submit_follow_up()
            self._require_successor(runnable_runs)
        self._automatic = True

    def _list_other_jobs(self) -> list[str]:
        """Jobs of this sweep that wait or run, but for the one that we are in."""
        current_job_id = get_job_id()
        return [
            job.id for _, job, _ in self.submissions.list_active_jobs() if job.id != current_job_id
        ]

    def _build_no_progress_error(self) -> UserError:
        return UserError(
            f"jobs end before they take a cell: read the logs in {self.sweep_folder.slots_path}"
        )

    def _require_successor(self, runnable_runs: Sequence[str]) -> None:
        """`NotNow` where a follow-up leaves nobody behind who would go on; a person is told."""
        if self._list_other_jobs():
            return
        if in_follow_up():
            raise RetryLater("what is left runs where this cluster's queue does not show it")
        if runnable_runs:
            self.print_line(
                "another command submits these cells: see status, and run this again if not"
            )

    def submit_audit(self, run_id: str) -> None:
        """Submit a job that proves and measures the arms, unless one is there; `run`: any run.

        Raises:
            UserError: Slurm does not take it.
        """
        audit_intents = [i for i, _, _ in self.submissions.list_active_jobs() if i.kind == "prove"]
        submitted_audit_keys = {
            AuditKey(training_hash=i.submitter.training_hash, device=i.audit_device)
            for i in audit_intents
        }
        if self.audit_key in submitted_audit_keys:
            return
        try:
            job_id = self._submit("prove", ((run_id,),), {})
        except SubmissionRejected as rejection:
            raise UserError(
                f"Slurm refused the job that proves the arms: {format_rejection(rejection)}"
            ) from None
        if job_id is not None:
            self.print_line(f"job {job_id}: takes a few steps of every arm")

    def is_active(self) -> bool:
        """Whether a job of this sweep waits or runs, ours and follow-ups apart."""
        return any(i.kind != "follow" for i, _, _ in self.submissions.list_active_jobs())

    def stop(self) -> None:
        """Nothing: the jobs go on, and who comes next finds them."""

    def _cancel_forced_jobs(self, runnable_runs: Sequence[str]) -> None:
        """Cancel the jobs of attempts that were declared dead: one that hangs would keep its node
        until its time limit, and from the cells that share the job."""
        forced_attempts = [
            (run, attempt_number)
            for run, attempt_number in self.options.force_attempts
            if run in runnable_runs
        ]
        claim_records = [
            self.options.store.get_run(run).get_attempt(attempt_number).read_claim()
            for run, attempt_number in forced_attempts
        ]
        slurm = self.submissions.slurm
        held_job_ids = {
            claim_record.job_id
            for claim_record in claim_records
            if claim_record is not None and claim_record.cluster == slurm.cluster
        }
        cancelled_job_ids = [
            job.id for _, job, _ in self.submissions.list_active_jobs() if job.id in held_job_ids
        ]
        if cancelled_job_ids:
            slurm.cancel(cancelled_job_ids)
            self.print_line(f"cancelled {', '.join(cancelled_job_ids)}: declared dead by force")

    # -- what is submitted --

    def _submit_cells(self, runs: list[str], states: Mapping[str, RunState]) -> None:
        """Arrays as long as the cluster takes them; what it refuses is left to the follow-up."""
        groups = group_runs(
            runs, self._estimate_seconds(), self.options.launcher_config.cells_per_job
        )
        max_array_length = min(len(groups), self.submissions.slurm.max_array_length)
        while groups:
            chunk = groups[:max_array_length]
            attempts = {run: states[run].attempt for runs in chunk for run in runs}
            try:
                job_id = self._submit("run", tuple(chunk), attempts)
            except SubmissionRejected as rejection:
                if max_array_length > 1 and _is_limit_rejection(rejection):
                    max_array_length //= 2
                    continue
                self._report_rejected_cells(rejection, groups)
                return
            if job_id is not None:
                num_cells = sum(map(len, chunk))
                self.print_line(f"job {job_id}: {num_cells} cells in {len(chunk)} jobs")
            groups = groups[max_array_length:]

    def _report_rejected_cells(
        self, rejection: SubmissionRejected, groups: Sequence[Sequence[str]]
    ) -> None:
        """Say what was left out; an error if nothing of the sweep is in the queue at all."""
        if not self._list_other_jobs():
            error_class = RetryLater if _is_limit_rejection(rejection) else UserError
            raise error_class(f"Slurm refused the jobs: {format_rejection(rejection)}")
        num_cells = sum(map(len, groups))
        self.print_line(
            f"{num_cells} cells are left for later: Slurm refused them ({format_rejection(rejection)})"
        )

    def _submit_follow_up(self, freed_slot: bool = False) -> None:
        """room: a cell has given up its place already."""
        active_jobs, argv = self.submissions.list_active_jobs(), self.options.follow_up_argv
        waiting_argv = {
            j.id: i.follow_up_argv for i, j, _ in active_jobs if i.kind == "follow" and j.is_waiting
        }
        same_command = {
            job: job_argv
            for job, job_argv in waiting_argv.items()
            if _drop_overrides(job_argv) == _drop_overrides(argv)
        }
        superseded_job_ids = [job for job, job_argv in same_command.items() if job_argv != argv]
        if argv in waiting_argv.values() or (superseded_job_ids and in_follow_up()):
            return
        if superseded_job_ids:  # it would write the plan of another command line down again
            self.submissions.slurm.cancel(superseded_job_ids)
        dependency_ids = sorted(
            {j.id.split("_")[0] for i, j, _ in active_jobs if i.kind != "follow"}
        )
        if not dependency_ids:
            return
        try:
            job = self._submit("follow", ((),), {}, dependency_ids=dependency_ids)
        except SubmissionRejected as rejection:
            if not freed_slot and self._free_queue_slot(rejection):
                self._submit_follow_up(freed_slot=True)
                return
            if in_follow_up():
                raise RetryLater(
                    f"Slurm refused who follows up: {format_rejection(rejection)}"
                ) from None
            hint = "run this command again when the jobs have ended"
            self.print_line(f"no follow-up ({format_rejection(rejection)}): {hint}")
            return
        if job is not None:
            self.print_line(f"job {job}: follows up when they have ended, and writes the report")

    def _free_queue_slot(self, rejection: SubmissionRejected) -> bool:
        """Where the queue is full to the brim, the last job that waits leaves it: without a
        follow-up nobody would submit the rest. Whether one did."""
        waiting_job_ids = [
            job.id
            for i, job, _ in self.submissions.list_active_jobs()
            if i.kind == "run" and job.is_waiting
        ]
        if len(waiting_job_ids) < 2 or not _is_limit_rejection(rejection):
            return False
        self.submissions.slurm.cancel(waiting_job_ids[-1:])
        self.submissions.refresh()
        self.print_line(
            f"job {waiting_job_ids[-1]} is left for later: who follows up takes its place"
        )
        return True

    def _submit(
        self,
        kind: Any,
        elements: tuple[tuple[str, ...], ...],
        attempts: dict[str, int],
        dependency_ids: Sequence[str] = (),
    ) -> str | None:
        intent = SubmissionIntent(
            token="",
            kind=kind,
            array_tasks=elements,
            last_attempts=attempts,
            submitter=process.make_claim_record({}),
            follow_up_argv=self.options.follow_up_argv,
            retry_attempts=self.options.retry_attempts,
            force_attempts=self.options.force_attempts,
            automatic=self._automatic,
            signal_delay_s=self.options.launcher_config.signal_delay_s,
            audit_device=self.audit_key.device,
        )
        return self.submissions.submit(
            intent, lambda recorded_intent: self._sbatch(recorded_intent, dependency_ids)
        )

    def _sbatch(self, intent: SubmissionIntent, dependency_ids: Sequence[str]) -> str:
        """One sbatch call; the id of the job, or of the array."""
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        launcher_config, store_root = self.options.launcher_config, str(self.options.store.root)
        arguments = [store_root, self.options.sweep, intent.token]

        class Executor(SlurmExecutor):
            """submitit's, but for what a job starts: our own front door, without a pickle."""

            @property
            def _submitit_command_str(self) -> str:
                return f"{self.python} -u -m sweeps.cli.slurm_job {shlex.join(arguments)}"

        executor = Executor(self.sweep_folder.slots_path, python=launcher_config.python)
        executor.update_parameters(
            **build_sbatch_parameters(
                launcher_config, intent, self.snapshot_folder, self.options.threads
            )
        )
        if dependency_ids:
            executor.update_parameters(dependency="afterany:" + ":".join(dependency_ids))
        try:
            with _without_request_variables(), executor.batch():
                submitted_jobs = [executor.submit(print, *runs) for runs in intent.array_tasks]
        except (FailedJobError, FailedSubmissionError) as error:
            raise SubmissionRejected(str(error)) from None
        return str(submitted_jobs[0].job_id).split("_")[0]

    def _estimate_seconds(self) -> dict[str, float]:
        """Run -> how long it should take, where that is known."""
        plan = self.sweep_folder.read_plan()
        assert plan is not None, "a plan is written before anything is submitted"
        cost_estimates = estimate.estimate_costs(self.options.store, plan)
        return {
            c.run_id: cost_estimates[c.arm].seconds for c in plan.cells if c.arm in cost_estimates
        }


def _drop_overrides(argv: Sequence[str]) -> list[str]:
    """The verb of a command line, and the cells that it names."""
    return [argument for argument in argv if "=" not in argument]


def _is_limit_rejection(rejection: SubmissionRejected) -> bool:
    return any(phrase in str(rejection).lower() for phrase in RETRYABLE_REJECTIONS)


def format_rejection(rejection: SubmissionRejected) -> str:
    """The end of what sbatch said, in one line."""
    return " ".join(str(rejection).split())[-200:]


def group_runs(
    runs: Sequence[str], seconds: Mapping[str, float], cells_per_job: int | None
) -> list[tuple[str, ...]]:
    """Runs in groups of `pack`, or (None) so many that a group is not too short for a job."""
    if cells_per_job is not None:
        return [tuple(runs[i : i + cells_per_job]) for i in range(0, len(runs), cells_per_job)]
    groups: list[tuple[str, ...]] = []
    remaining_seconds = 0.0
    for run in runs:
        run_seconds = seconds.get(run, MIN_JOB_SECONDS)
        if groups and run_seconds <= remaining_seconds:
            groups[-1] = (*groups[-1], run)
            remaining_seconds -= run_seconds
        else:
            groups.append((run,))
            remaining_seconds = MIN_JOB_SECONDS - run_seconds
    return groups


def build_sbatch_parameters(
    launcher_config: SlurmLauncherConfig,
    intent: SubmissionIntent,
    snapshot_folder: Path,
    threads: int,
) -> dict[str, Any]:
    """What is asked of sbatch for an intent, in submitit's words."""
    is_follow_up = intent.kind == "follow"
    if is_follow_up:
        launcher_config = replace(
            launcher_config,
            partition=launcher_config.follow_up_partition or launcher_config.partition,
            nodes=1,
            gpus_per_node=None,
            tasks_per_node=1,
            gres=None,
            cpus_per_task=1,
            timeout_min=FOLLOW_UP_MINUTES,
            signal_delay_s=FOLLOW_UP_SIGNAL_SECONDS,
        )
    num_cpus = launcher_config.cpus_per_task or threads
    parameters = {
        "job_name": f"{JOB_NAME_PREFIX}{intent.token}",
        "partition": launcher_config.partition,
        "account": launcher_config.account,
        "qos": launcher_config.qos,
        "constraint": launcher_config.constraint,
        "gres": launcher_config.gres,
        "nodes": launcher_config.nodes,
        "gpus_per_node": launcher_config.gpus_per_node,
        "ntasks_per_node": launcher_config.processes_per_node,
        "cpus_per_task": num_cpus,
        "mem": None
        if launcher_config.mem_gb is None
        else f"{round(launcher_config.mem_gb * 1024)}MB",
        "time": launcher_config.timeout_min,
        "array_parallelism": launcher_config.array_parallelism,
        "signal_delay_s": launcher_config.signal_delay_s,
        "setup": [
            *_build_setup_lines(snapshot_folder, launcher_config.offline),
            *launcher_config.setup,
        ],
        "srun_args": [f"--cpus-per-task={num_cpus}", "--kill-on-bad-exit=1"],
        "additional_parameters": {
            "hold": True,
            "requeue": True,
            **launcher_config.additional_parameters,
        },
    }
    return {name: value for name, value in parameters.items() if value is not None}


def _build_setup_lines(snapshot_folder: Path, offline: bool) -> list[str]:
    """Shell lines: import from the snapshot, whatever folder the job starts in."""
    lines = [
        f"export PYTHONPATH={shlex.quote(str(snapshot_folder))}${{PYTHONPATH:+:$PYTHONPATH}}",
        "export PYTHONSAFEPATH=1",
    ]
    return [*lines, "export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1"] if offline else lines


@contextmanager
def _without_request_variables() -> Iterator[None]:
    """A controller inside a job hands nothing of that job's requests on."""
    saved_environment = dict(os.environ)
    os.environ.clear()
    os.environ.update(drop_request_variables(saved_environment))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved_environment)
