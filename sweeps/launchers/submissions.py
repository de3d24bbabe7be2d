"""The submissions of a sweep: recorded intents, their results, and the jobs that belong to them.

A job starts only after its record exists: an intent is linked, the jobs are submitted held, the
result is linked, and the jobs are released. A controller that is killed in between leaves a state
that the next controller recognises. An intent without a result whose controller has exited gets the
result "no job", and the held jobs of its name are cancelled. A submission that was not released is
released. Of two controllers that record a result for one intent, the second cancels what it
submitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from sweeps.claims import process
from sweeps.slurm import JOB_NAME_PREFIX, Job, Slurm
from uniclip.errors import RetryLater
from uniclip.io.hashing import digest
from uniclip.store import Submission, SubmissionIntent, SweepFolder

INTENT_TIMEOUT_SECONDS = 900.0
"""An intent without a result is abandoned after this time, on whatever host it was recorded."""
MAX_LAUNCH_RETRIES = 10
"""Restarts up to which a job whose launch failed is released again."""
MAX_JOBS_WITHOUT_PROGRESS = 3
"""Consecutive automatic jobs that may end without claiming a run."""


class SubmissionRejected(Exception):
    """sbatch rejected a job; the message is that of sbatch."""


class Submissions:
    """The submissions of one sweep, joined with the present queue."""

    def __init__(self, sweep_folder: SweepFolder, slurm: Slurm) -> None:
        self.sweep_folder, self.slurm = sweep_folder, slurm
        self._intents: list[SubmissionIntent] | None = None
        self._results: dict[str, Submission] | None = None

    @property
    def intents(self) -> list[SubmissionIntent]:
        """Every intent, oldest first; read once until `refresh`."""
        if self._intents is None:
            self._intents = self.sweep_folder.read_intents()
        return self._intents

    @property
    def results(self) -> dict[str, Submission]:
        """Token -> result of its submission; read once until `refresh`."""
        if self._results is None:
            submissions = (self.sweep_folder.read_submission(i.token) for i in self.intents)
            self._results = {s.token: s for s in submissions if s is not None}
        return self._results

    def refresh(self) -> None:
        """Have the store and the queue read again."""
        self._intents = self._results = None
        self.slurm.invalidate_queue()

    def list_active_jobs(self) -> list[tuple[SubmissionIntent, Job, tuple[str, ...]]]:
        """Return every queued or running job of this sweep, with its intent and its runs.

        Raises:
            RetryLater: squeue fails. (If it shows no job, none is active.)
        """
        queue = self.slurm.list_jobs()
        if queue is None:
            raise RetryLater("Slurm's queue does not answer (squeue); try again later")
        jobs_by_id = {j.id: j for j in queue if j.is_active}
        active_jobs = []
        for intent in self.intents:
            submission = self.results.get(intent.token)
            for job_id, runs in list_array_tasks(intent, submission):
                if job_id in jobs_by_id:
                    active_jobs.append((intent, jobs_by_id[job_id], runs))
        return active_jobs

    def map_runs_to_jobs(
        self, requested_attempts: Collection[tuple[str, int]] = ()
    ) -> dict[str, Job]:
        """Return run id -> the job that executes it or will; open intents count as jobs.

        Args:
            requested_attempts: (run id, attempt number) to retry; only a job whose intent includes
                the attempt claims such a run. A job of several runs does not return to one that
                failed in it.
        """
        placeholder_job = Job(
            id="", state="PENDING", restarts=0, node="", name="", reason="submitting"
        )
        assignments = self.list_active_jobs() + [
            (i, placeholder_job, runs) for i in self._list_open_intents() for runs in i.array_tasks
        ]
        jobs_by_run: dict[str, Job] = {}
        for intent, job, runs in assignments:
            policy = intent.retry_policy
            included_attempts = {*policy.retry_attempts, *policy.force_attempts}
            excluded_runs = {
                run
                for run, attempt in requested_attempts
                if (run, attempt) not in included_attempts
            }
            jobs_by_run |= {run: job for run in runs if run not in excluded_runs}
        return jobs_by_run

    def run_lacks_progress(self, run: str, attempts: Mapping[str, int]) -> bool:
        """Return whether automatic jobs for this run keep ending before they claim anything.

        Args:
            run: id of the run.
            attempts: run id -> number of its newest attempt.
        """
        return self._lacks_progress(
            [i for i in self.intents if _ended_without_claim(i, run, attempts)]
        )

    def audit_lacks_progress(self) -> bool:
        """Return whether automatic audit jobs keep ending without an audit."""
        return self._lacks_progress([i for i in self.intents if i.kind == "audit"])

    def _lacks_progress(self, intents: list[SubmissionIntent]) -> bool:
        recent_intents = [i for i in intents if self._has_job(i)][-MAX_JOBS_WITHOUT_PROGRESS:]
        return len(recent_intents) == MAX_JOBS_WITHOUT_PROGRESS and all(
            i.automatic for i in recent_intents[1:]
        )

    def submit(
        self, intent: SubmissionIntent, submit_held_jobs: Callable[[SubmissionIntent], str]
    ) -> str | None:
        """Record an intent, submit its jobs held, record the result and release them.

        Args:
            intent: an intent without a token. Two controllers that see the same state get the same
                token, so only one of them submits.
            submit_held_jobs: submits the jobs of the intent and returns the job's id.

        Returns:
            The id of the job; None if another controller has submitted it, or has given up on this
            one.

        Raises:
            SubmissionRejected: sbatch rejected the job.
        """
        token_parts = [intent.kind, intent.array_tasks, intent.last_attempts, len(self.intents)]
        submission_key = self.sweep_folder.get_submission_key()
        intent = replace(intent, token=digest([submission_key, *token_parts], 12))
        if not self.sweep_folder.record_intent(intent):
            return None
        try:
            job_id = submit_held_jobs(intent)
        except SubmissionRejected as rejection:
            self._record_result(intent, None, str(rejection))
            self.refresh()
            raise
        if not self._record_result(intent, job_id):
            self.slurm.cancel([job_id])  # another controller recorded this intent as abandoned
            return None
        self._release(intent.token, job_id)
        self.refresh()
        return job_id

    def reconcile(self) -> None:
        """Complete or cancel what controllers that were killed while submitting have left."""
        for intent in self._list_unresolved_intents():
            if _is_abandoned(intent):
                self._record_result(intent, None, "its controller has exited")
        self.refresh()
        jobs_by_name = {
            j.name: j for j in self.slurm.list_jobs() or () if j.is_held or _can_relaunch(j)
        }
        for token, submission in self.results.items():
            job = jobs_by_name.get(f"{JOB_NAME_PREFIX}{token}")
            if submission.job_id is None and job is not None:
                self.slurm.cancel_by_name(f"{JOB_NAME_PREFIX}{token}")
            elif job is not None and (
                job.launch_failed or not self.sweep_folder.is_released(token)
            ):
                self._release(token, submission.job_id or "")

    def _has_job(self, intent: SubmissionIntent) -> bool:
        submission = self.results.get(intent.token)
        return submission is not None and submission.job_id is not None

    def _list_open_intents(self) -> list[SubmissionIntent]:
        """Return the intents that a controller may be submitting now."""
        return [i for i in self._list_unresolved_intents() if not _is_abandoned(i)]

    def _list_unresolved_intents(self) -> list[SubmissionIntent]:
        return [i for i in self.intents if i.token not in self.results]

    def _record_result(
        self, intent: SubmissionIntent, job_id: str | None, error: str | None = None
    ) -> bool:
        return self.sweep_folder.record_result(
            Submission(
                token=intent.token,
                job_id=job_id,
                cluster=self.slurm.cluster,
                time=time.time(),
                error=error,
            )
        )

    def _release(self, token: str, job_id: str) -> None:
        if self.slurm.release(job_id):
            self.sweep_folder.mark_released(token)


def _can_relaunch(job: Job) -> bool:
    """Return whether a job that a node failed to start is released again.

    It then starts on another node, since Slurm drains most nodes that fail to start a job.
    """
    return job.launch_failed and job.restarts < MAX_LAUNCH_RETRIES


def _is_abandoned(intent: SubmissionIntent) -> bool:
    age_seconds = time.time() - intent.submitter.time
    return age_seconds > INTENT_TIMEOUT_SECONDS or bool(process.has_exited(intent.submitter))


def _ended_without_claim(intent: SubmissionIntent, run: str, attempts: Mapping[str, int]) -> bool:
    """Return whether the job for a run has claimed neither that run nor those that share it."""
    matching_tasks = [runs for runs in intent.array_tasks if run in runs]
    return bool(matching_tasks) and all(
        attempts.get(r) == intent.last_attempts.get(r) for r in matching_tasks[0]
    )


def list_array_tasks(
    intent: SubmissionIntent, submission: Submission | None
) -> Iterable[tuple[str, tuple[str, ...]]]:
    """Return (job id, runs) of each array task of a submission; nothing if there is no job."""
    if submission is None or submission.job_id is None:
        return []
    if len(intent.array_tasks) == 1:
        return [(submission.job_id, intent.array_tasks[0])]
    return [(f"{submission.job_id}_{i}", runs) for i, runs in enumerate(intent.array_tasks)]
