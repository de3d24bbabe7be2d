"""The follow-up job of a sweep: a small job that runs the same command after the others ended."""

from __future__ import annotations

from collections.abc import Sequence

from sweeps.launchers.job_submitter import JobSubmitter, format_rejection, is_limit_rejection
from sweeps.launchers.submissions import SubmissionRejected
from sweeps.slurm import in_follow_up
from uniclip.errors import RetryLater


class FollowUp:
    """Submits the follow-up job of a command line, unless one is queued."""

    def __init__(self, submitter: JobSubmitter) -> None:
        self.submitter = submitter
        self.submissions = submitter.submissions

    def submit(self, *, has_freed_slot: bool = False) -> None:
        """Submit a follow-up job that starts after the active jobs of the sweep have ended.

        A queued follow-up of the same command with other overrides is cancelled: it would write
        another plan. If the queue is full, the last queued job of the sweep is cancelled in favour
        of the follow-up.

        Args:
            has_freed_slot: whether a job was cancelled for this follow-up already.

        Raises:
            RetryLater: this process is a follow-up job, and sbatch rejected the next one.
        """
        active_jobs = self.submissions.list_active_jobs()
        argv = self.submitter.options.follow_up_argv
        queued_argv = {
            job.id: intent.follow_up_argv
            for intent, job, _ in active_jobs
            if intent.kind == "follow_up" and job.is_waiting
        }
        superseded_ids = [
            job_id
            for job_id, job_argv in queued_argv.items()
            if job_argv != argv and _drop_overrides(job_argv) == _drop_overrides(argv)
        ]
        if argv in queued_argv.values() or (superseded_ids and in_follow_up()):
            return
        if superseded_ids:
            self.submissions.slurm.cancel(superseded_ids)
        dependency_ids = sorted(
            {job.id.split("_")[0] for intent, job, _ in active_jobs if intent.kind != "follow_up"}
        )
        if not dependency_ids:
            return
        try:
            job_id = self.submitter.submit("follow_up", ((),), {}, dependency_ids=dependency_ids)
        except SubmissionRejected as rejection:
            if not has_freed_slot and self._free_queue_slot(rejection):
                self.submit(has_freed_slot=True)
            else:
                self._report_rejection(rejection)
            return
        if job_id is not None:
            self.submitter.print_line(
                f"job {job_id}: follow-up after these jobs; it writes the report"
            )

    def require_successor(self, runnable_runs: Sequence[str]) -> None:
        """Check that a job is left that continues the sweep.

        Raises:
            RetryLater: this process is a follow-up job, and no other job of the sweep is visible.
        """
        if self.submitter.list_other_jobs():
            return
        if in_follow_up():
            raise RetryLater("the remaining runs are in jobs that this cluster's queue lacks")
        if runnable_runs:
            self.submitter.print_line(
                "another command is submitting these cells: see status, and run this again if not"
            )

    def _free_queue_slot(self, rejection: SubmissionRejected) -> bool:
        """Cancel the last queued job of cells if a limit on jobs is reached and others are queued.

        Without a follow-up job, no process would submit the rest. Returns whether a job was
        cancelled.
        """
        queued_ids = [
            job.id
            for intent, job, _ in self.submissions.list_active_jobs()
            if intent.kind == "run" and job.is_waiting
        ]
        if len(queued_ids) < 2 or not is_limit_rejection(rejection):
            return False
        self.submissions.slurm.cancel(queued_ids[-1:])
        self.submissions.refresh()
        self.submitter.print_line(
            f"job {queued_ids[-1]} is postponed: the follow-up takes its slot"
        )
        return True

    def _report_rejection(self, rejection: SubmissionRejected) -> None:
        text = format_rejection(rejection)
        if in_follow_up():
            raise RetryLater(f"sbatch rejected the follow-up job: {text}") from None
        self.submitter.print_line(
            f"no follow-up ({text}): run this command again when the jobs have ended"
        )


def _drop_overrides(argv: Sequence[str]) -> list[str]:
    """Return the command of a command line and the cells that it names."""
    return [argument for argument in argv if "=" not in argument]
