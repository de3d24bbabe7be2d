"""What was handed to Slurm: intents, what became of them, and the jobs that stem from them.

No job starts before its record and its pickles exist: an intent is linked, the jobs are submitted
held, the submission is linked, the jobs are released. Killed anywhere on that way, a controller
leaves something that the next one can tell apart: an intent without a submission whose controller
is gone is settled as "no job", and what Slurm has under its name is cancelled; a submission that
was not released is released. Who settles an intent second cancels what it submitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from sweeps.claims import process
from sweeps.slurm import JOB_NAME_PREFIX, Job, Slurm
from uniclip.errors import RetryLater
from uniclip.identity import digest
from uniclip.store import Submission, SubmissionIntent, SweepFolder

INTENT_TIMEOUT_SECONDS = 900.0
"""An intent that is still open after so long is nobody's any more, wherever it was made."""
MAX_LAUNCH_RETRIES = 10
"""So often a job whose launch failed is let go again."""
MAX_JOBS_WITHOUT_PROGRESS = 3
"""So many unasked jobs in a row that ended without taking up a run: no more are submitted."""


class SubmissionRejected(Exception):
    """Slurm did not take it; the words are its own."""


class Submissions:
    """The submissions of one sweep, joined with the queue as it is now."""

    def __init__(self, sweep_folder: SweepFolder, slurm: Slurm) -> None:
        self.sweep_folder, self.slurm = sweep_folder, slurm

    @cached_property
    def intents(self) -> list[SubmissionIntent]:
        """Every intent, oldest first; read once until `refresh`."""
        return self.sweep_folder.read_intents()

    @cached_property
    def results(self) -> dict[str, Submission]:
        """Token -> what became of it."""
        results_by_token = {
            i.token: self.sweep_folder.read_submission(i.token) for i in self.intents
        }
        return {token: s for token, s in results_by_token.items() if s is not None}

    def refresh(self) -> None:
        """Look at the store and the queue again."""
        for name in ("intents", "settled"):
            self.__dict__.pop(name, None)
        self.slurm.invalidate_queue()

    def list_active_jobs(self) -> list[tuple[SubmissionIntent, Job, tuple[str, ...]]]:
        """Every job of this sweep that waits or runs, with its intent and its runs.

        Raises:
            NotNow: the queue does not answer. (An empty one says that nothing runs.)
        """
        queue = self.slurm.list_jobs()
        if queue is None:
            raise RetryLater("Slurm's queue does not answer (squeue); try again later")
        jobs_by_id = {j.id: j for j in queue if j.is_active}
        active_jobs = []
        for intent in self.intents:
            submission = self.results.get(intent.token)
            for job_id, runs in list_elements(intent, submission):
                if job_id in jobs_by_id:
                    active_jobs.append((intent, jobs_by_id[job_id], runs))
        return active_jobs

    def map_runs_to_jobs(
        self, requested_attempts: Collection[tuple[str, int]] = ()
    ) -> dict[str, Job]:
        """Run -> the job that will take it up, or is at it; open intents count as jobs.

        asked: (run, attempt) that only a job which knows of it takes up: one that holds several
        runs has left those behind that failed in it.
        """
        placeholder_job = Job(
            id="", state="PENDING", restarts=0, node="", name="", reason="submitting"
        )
        assignments = self.list_active_jobs() + [
            (i, placeholder_job, runs) for i in self._list_open_intents() for runs in i.array_tasks
        ]
        jobs_by_run: dict[str, Job] = {}
        for intent, job, runs in assignments:
            included_attempts = {*intent.retry_attempts, *intent.force_attempts}
            excluded_runs = {
                run
                for run, attempt in requested_attempts
                if (run, attempt) not in included_attempts
            }
            jobs_by_run |= {run: job for run in runs if run not in excluded_runs}
        return jobs_by_run

    def run_lacks_progress(self, run: str, attempts: Mapping[str, int]) -> bool:
        """Whether unasked jobs for this run keep ending before they claim anything.

        attempts: run -> the number of its newest attempt, now.
        """
        return self._lack_progress(
            [i for i in self.intents if _ended_without_claim(i, run, attempts)]
        )

    def audit_lacks_progress(self) -> bool:
        """Whether unasked jobs that were to prove the arms keep ending without an audit."""
        return self._lack_progress([i for i in self.intents if i.kind == "prove"])

    def _lack_progress(self, intents: list[SubmissionIntent]) -> bool:
        recent_intents = [i for i in intents if self._has_job(i)][-MAX_JOBS_WITHOUT_PROGRESS:]
        return len(recent_intents) == MAX_JOBS_WITHOUT_PROGRESS and all(
            i.automatic for i in recent_intents[1:]
        )

    def submit(
        self, intent: SubmissionIntent, submit_held_jobs: Callable[[SubmissionIntent], str]
    ) -> str | None:
        """Have `start` submit held jobs for `intent`; the job's id, or None if it is not ours.

        intent: without a token; two controllers that see the same things get the same one.

        Raises:
            Refused: Slurm did not take it.
        """
        token_parts = [intent.kind, intent.array_tasks, intent.last_attempts, len(self.intents)]
        intent = replace(intent, token=digest([self.sweep_folder.id, *token_parts], 12))
        if not self.sweep_folder.record_intent(intent):
            return None
        try:
            job_id = submit_held_jobs(intent)
        except SubmissionRejected as rejection:
            self._record_result(intent, None, str(rejection))
            self.refresh()
            raise
        if not self._record_result(intent, job_id):
            self.slurm.cancel([job_id])  # we were taken for dead
            return None
        self._release(intent.token, job_id)
        self.refresh()
        return job_id

    def reconcile(self) -> None:
        """Put right what controllers that were killed on the way have left."""
        for intent in self._list_unresolved_intents():
            if _is_abandoned(intent):
                self._record_result(intent, None, "its controller is gone")
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
        """What some controller is submitting now, as far as can be told."""
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
    """Whether it is to be started elsewhere: Slurm drains a node that failed to, mostly."""
    return job.launch_failed and job.restarts < MAX_LAUNCH_RETRIES


def _is_abandoned(intent: SubmissionIntent) -> bool:
    age_seconds = time.time() - intent.submitter.time
    return age_seconds > INTENT_TIMEOUT_SECONDS or bool(process.has_exited(intent.submitter))


def _ended_without_claim(intent: SubmissionIntent, run: str, attempts: Mapping[str, int]) -> bool:
    """Whether the job that was to take up a run has claimed it no more than those beside it."""
    matching_elements = [runs for runs in intent.array_tasks if run in runs]
    return bool(matching_elements) and all(
        attempts.get(r) == intent.last_attempts.get(r) for r in matching_elements[0]
    )


def list_elements(
    intent: SubmissionIntent, submission: Submission | None
) -> Iterable[tuple[str, tuple[str, ...]]]:
    """(job id, runs) of each element of a submission; none if there is no job."""
    if submission is None or submission.job_id is None:
        return []
    if len(intent.array_tasks) == 1:
        return [(submission.job_id, intent.array_tasks[0])]
    return [(f"{submission.job_id}_{i}", runs) for i, runs in enumerate(intent.array_tasks)]
