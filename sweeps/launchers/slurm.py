"""Jobs on a Slurm cluster, submitted through submitit: one cell a job, or several short ones.

A controller submits the open runs that are in no job yet, and one small follow-up job. It runs the
same command again, from the same code, after all other jobs have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sweeps.claims.status import RunState
from sweeps.costs import estimate
from sweeps.costs.audit_scope import AuditKey, has_audit
from sweeps.launchers.follow_up import FollowUp
from sweeps.launchers.job_submitter import (
    JobSubmitter,
    SubmitOptions,
    format_rejection,
    is_limit_rejection,
)
from sweeps.launchers.sbatch import find_sbatch_variables
from sweeps.launchers.submissions import SubmissionRejected
from sweeps.slurm import Job
from uniclip.errors import RetryLater, UserError
from uniclip.identity import compute_training_hash

MIN_JOB_SECONDS = 600.0
"""Measured cells that are shorter share a job, up to this estimated duration."""


class SlurmLauncher:
    """Submits the open runs of a sweep to a cluster."""

    def __init__(
        self, options: SubmitOptions, snapshot_folder: Path, print_line: Callable[[str], None]
    ) -> None:
        """Create a launcher.

        Args:
            options: the sweep, the launcher's configuration and the retry policy.
            snapshot_folder: the copy of the code that jobs import.
            print_line: prints a line for the user.
        """
        self.options, self.print_line = options, print_line
        self.blocking, self.poll_seconds = options.blocking, options.launcher_config.poll_seconds
        self.submitter = JobSubmitter(options, snapshot_folder, print_line)
        self.submissions = self.submitter.submissions
        self.sweep_folder = self.submitter.sweep_folder
        self.follow_up = FollowUp(self.submitter)
        self.audit_key = AuditKey(
            training_hash=compute_training_hash(),
            device=options.device,
            world_size=options.launcher_config.world_size,
        )
        self._printed_notes = set[str]()

    def submit(self, runnable_runs: Sequence[str], states: Mapping[str, RunState]) -> None:
        """Submit the open runs that are in no job, and a follow-up job.

        If the sweep has no valid audit, a job that makes it is submitted instead of the runs.

        Raises:
            UserError: sbatch rejects everything, or jobs keep ending before they claim a run.
            RetryLater: Slurm does not answer or accepts nothing now; or this is a follow-up job,
                and no job is left that continues the sweep.
        """
        self.submissions.reconcile()
        self._cancel_forced_jobs(runnable_runs)
        self._print_notes()
        policy = self.options.policy
        jobs_by_run = self.submissions.map_runs_to_jobs(
            {*policy.retry_attempts, *policy.force_attempts}
        )
        unqueued_runs = [run for run in runnable_runs if run not in jobs_by_run]
        if unqueued_runs and not has_audit(self.sweep_folder, self.audit_key):
            if self.submitter.automatic and self.submissions.audit_lacks_progress():
                raise self._make_no_progress_error()
            self.submit_audit(unqueued_runs[0])
        elif unqueued_runs:
            self._submit_cells(self._select_progressing_runs(unqueued_runs, states), states)
        if self.options.launcher_config.follow_up and not self.blocking:
            self.follow_up.submit()
            self.follow_up.require_successor(runnable_runs)
        self.submitter.automatic = True

    def submit_audit(self, run_id: str) -> None:
        """Submit a job that audits and measures the arms, unless one is active.

        Args:
            run_id: any run of the sweep.

        Raises:
            UserError: sbatch rejected the job.
        """
        active_audit_keys = {
            AuditKey(
                training_hash=i.submitter.training_hash,
                device=i.audit_device,
                world_size=i.audit_world_size,
            )
            for i, _, _ in self.submissions.list_active_jobs()
            if i.kind == "audit"
        }
        if self.audit_key in active_audit_keys:
            return
        self._print_notes()
        try:
            job_id = self.submitter.submit("audit", ((run_id,),), {})
        except SubmissionRejected as rejection:
            raise UserError(
                f"sbatch rejected the audit job: {format_rejection(rejection)}"
            ) from None
        if job_id is not None:
            self.print_line(f"job {job_id}: audit, a few training steps of each arm")

    def _print_notes(self) -> None:
        """Print, once each, which exported variables apply, and which jobs do not start."""
        notes = [find_sbatch_variables(self.options.launcher_config).describe()]
        blocked_jobs: dict[str, list[Job]] = {}
        for _, job, _ in self.submissions.list_active_jobs():
            if job.obstacle is not None and job.obstacle.blocks and not job.is_held:
                blocked_jobs.setdefault(job.reason, []).append(job)
        notes += [_describe_blocked_jobs(jobs) for jobs in blocked_jobs.values()]
        for note in notes:
            if note and note not in self._printed_notes:
                self._printed_notes.add(note)
                self.print_line(f"note: {note}")

    def is_active(self) -> bool:
        """Return whether a job of this sweep is queued or running, except follow-up jobs."""
        return any(i.kind != "follow_up" for i, _, _ in self.submissions.list_active_jobs())

    def stop(self) -> None:
        """Do nothing: the jobs continue without the controller."""

    def _select_progressing_runs(
        self, runs: Sequence[str], states: Mapping[str, RunState]
    ) -> list[str]:
        """Return the runs without those whose automatic jobs keep ending before they claim one.

        Raises:
            UserError: that is so for every run, and no other job of the sweep is active.
        """
        attempts = {run: state.attempt for run, state in states.items()}
        progressing_runs = [
            run
            for run in runs
            if not (self.submitter.automatic and self.submissions.run_lacks_progress(run, attempts))
        ]
        if not progressing_runs and not self.submitter.list_other_jobs():
            raise self._make_no_progress_error()
        return progressing_runs

    def _make_no_progress_error(self) -> UserError:
        return UserError(
            "jobs end before they claim a run: read the logs in "
            f"{self.sweep_folder.worker_logs_path}"
        )

    def _cancel_forced_jobs(self, runnable_runs: Sequence[str]) -> None:
        """Cancel the jobs of attempts that the user declared dead.

        A job that hangs would occupy its node until its time limit, and the runs that share the job
        would wait for it.
        """
        slurm = self.submissions.slurm
        claim_records = [
            self.options.store.get_run(run).get_attempt(attempt_number).read_claim()
            for run, attempt_number in self.options.policy.force_attempts
            if run in runnable_runs
        ]
        forced_job_ids = {
            claim_record.job_id
            for claim_record in claim_records
            if claim_record is not None and claim_record.cluster == slurm.cluster
        }
        cancelled_job_ids = [
            job.id for _, job, _ in self.submissions.list_active_jobs() if job.id in forced_job_ids
        ]
        if cancelled_job_ids:
            slurm.cancel(cancelled_job_ids)
            self.print_line(f"cancelled {', '.join(cancelled_job_ids)}: retry --force")

    def _submit_cells(self, runs: Sequence[str], states: Mapping[str, RunState]) -> None:
        """Submit runs in arrays as long as the cluster accepts; the follow-up submits the rest."""
        groups = group_runs(
            runs, self._estimate_seconds(), self.options.launcher_config.cells_per_job
        )
        max_array_length = min(len(groups), self.submissions.slurm.max_array_length)
        while groups:
            chunk = groups[:max_array_length]
            last_attempts = {run: states[run].attempt for runs in chunk for run in runs}
            try:
                job_id = self.submitter.submit("run", tuple(chunk), last_attempts)
            except SubmissionRejected as rejection:
                if max_array_length > 1 and is_limit_rejection(rejection):
                    max_array_length //= 2
                    continue
                self._report_rejected_cells(rejection, groups)
                return
            if job_id is not None:
                self.print_line(f"job {job_id}: {sum(map(len, chunk))} cells in {len(chunk)} jobs")
            groups = groups[max_array_length:]

    def _report_rejected_cells(
        self, rejection: SubmissionRejected, groups: Sequence[Sequence[str]]
    ) -> None:
        """Print how many cells are postponed; raise if no job of the sweep is active."""
        text = format_rejection(rejection)
        if not self.submitter.list_other_jobs():
            error_class = RetryLater if is_limit_rejection(rejection) else UserError
            raise error_class(f"sbatch rejected the jobs: {text}")
        self.print_line(
            f"{sum(map(len, groups))} cells are postponed: sbatch rejected them ({text})"
        )

    def _estimate_seconds(self) -> dict[str, float]:
        """Return run id -> estimated duration, for the runs of measured arms."""
        plan = self.sweep_folder.read_plan()
        assert plan is not None, "a plan is written before anything is submitted"
        world_size = self.options.launcher_config.world_size
        cost_estimates = estimate.estimate_costs(self.options.store, plan, world_size=world_size)
        return {
            c.run_id: cost_estimates[c.arm].seconds for c in plan.cells if c.arm in cost_estimates
        }


def _describe_blocked_jobs(jobs: Sequence[Job]) -> str:
    """Describe in a line that jobs wait for one and the same reason, which does not pass."""
    job_ids = ", ".join(job.id for job in jobs[:3]) + (", ..." if len(jobs) > 3 else "")
    obstacle = jobs[0].obstacle
    advice = obstacle.format_advice(jobs[0].id) if obstacle else ""
    return f"{len(jobs)} queued jobs ({job_ids}) do not start, {jobs[0].reason}: {advice}"


def group_runs(
    runs: Sequence[str], seconds: Mapping[str, float], cells_per_job: int | None
) -> list[tuple[str, ...]]:
    """Return the runs of each job.

    Args:
        runs: ids of the runs.
        seconds: run id -> estimated duration, if known.
        cells_per_job: runs of a job; None to let runs share a job up to `MIN_JOB_SECONDS`, which a
            run of unknown duration is assumed to take.
    """
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
