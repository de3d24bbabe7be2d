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
from sweeps.slurm import OURS, Job, Slurm
from uniclip.errors import NotNow
from uniclip.identity import digest
from uniclip.store import Intent, Submission, SweepFolder

ABANDONED_SECONDS = 900.0
"""An intent that is still open after so long is nobody's any more, wherever it was made."""
LAUNCHES = 10
"""So often a job whose launch failed is let go again."""
FRUITLESS_JOBS = 3
"""So many unasked jobs in a row that ended without taking up a run: no more are submitted."""


class Refused(Exception):
    """Slurm did not take it; the words are its own."""


class Submissions:
    """The submissions of one sweep, joined with the queue as it is now."""

    def __init__(self, folder: SweepFolder, slurm: Slurm) -> None:
        self.folder, self.slurm = folder, slurm

    @cached_property
    def intents(self) -> list[Intent]:
        """Every intent, oldest first; read once until `refresh`."""
        return self.folder.intents()

    @cached_property
    def settled(self) -> dict[str, Submission]:
        """Token -> what became of it."""
        found = {i.token: self.folder.submission(i.token) for i in self.intents}
        return {token: s for token, s in found.items() if s is not None}

    def refresh(self) -> None:
        """Look at the store and the queue again."""
        for name in ("intents", "settled"):
            self.__dict__.pop(name, None)
        self.slurm.forget()

    def live(self) -> list[tuple[Intent, Job, tuple[str, ...]]]:
        """Every job of this sweep that waits or runs, with its intent and its runs.

        Raises:
            NotNow: the queue does not answer. (An empty one says that nothing runs.)
        """
        queue = self.slurm.jobs()
        if queue is None:
            raise NotNow("Slurm's queue does not answer (squeue); try again later")
        jobs = {j.id: j for j in queue if j.live}
        found = []
        for intent in self.intents:
            submission = self.settled.get(intent.token)
            for id_, runs in elements(intent, submission):
                if id_ in jobs:
                    found.append((intent, jobs[id_], runs))
        return found

    def queued(self, asked: Collection[tuple[str, int]] = ()) -> dict[str, Job]:
        """Run -> the job that will take it up, or is at it; open intents count as jobs.

        asked: (run, attempt) that only a job which knows of it takes up: one that holds several
        runs has left those behind that failed in it.
        """
        waiting = Job(id="", state="PENDING", restarts=0, node="", name="", reason="submitting")
        held = self.live() + [(i, waiting, runs) for i in self._open() for runs in i.elements]
        found: dict[str, Job] = {}
        for intent, job, runs in held:
            knows = {*intent.again, *intent.forced}
            deaf = {run for run, attempt in asked if (run, attempt) not in knows}
            found |= {run: job for run in runs if run not in deaf}
        return found

    def fruitless(self, run: str, attempts: Mapping[str, int]) -> bool:
        """Whether unasked jobs for this run keep ending before they claim anything.

        attempts: run -> the number of its newest attempt, now.
        """
        return self._in_vain([i for i in self.intents if _barren(i, run, attempts)])

    def unproven(self) -> bool:
        """Whether unasked jobs that were to prove the arms keep ending without an audit."""
        return self._in_vain([i for i in self.intents if i.kind == "prove"])

    def _in_vain(self, intents: list[Intent]) -> bool:
        tried = [i for i in intents if self._has_job(i)][-FRUITLESS_JOBS:]
        return len(tried) == FRUITLESS_JOBS and all(i.unasked for i in tried[1:])

    def submit(self, intent: Intent, start: Callable[[Intent], str]) -> str | None:
        """Have `start` submit held jobs for `intent`; the job's id, or None if it is not ours.

        intent: without a token; two controllers that see the same things get the same one.

        Raises:
            Refused: Slurm did not take it.
        """
        seen = [intent.kind, intent.elements, intent.attempts, len(self.intents)]
        intent = replace(intent, token=digest([self.folder.id, *seen], 12))
        if not self.folder.intend(intent):
            return None
        try:
            job = start(intent)
        except Refused as refused:
            self._settle(intent, None, str(refused))
            self.refresh()
            raise
        if not self._settle(intent, job):
            self.slurm.cancel([job])  # we were taken for dead
            return None
        self._release(intent.token, job)
        self.refresh()
        return job

    def mend(self) -> None:
        """Put right what controllers that were killed on the way have left."""
        for intent in self._unsettled():
            if _abandoned(intent):
                self._settle(intent, None, "its controller is gone")
        self.refresh()
        names = {j.name: j for j in self.slurm.jobs() or () if j.held or _freed(j)}
        for token, submission in self.settled.items():
            held = names.get(f"{OURS}{token}")
            if submission.job is None and held is not None:
                self.slurm.cancel_named(f"{OURS}{token}")
            elif held is not None and (held.stranded or not self.folder.released(token)):
                self._release(token, submission.job or "")

    def _has_job(self, intent: Intent) -> bool:
        submission = self.settled.get(intent.token)
        return submission is not None and submission.job is not None

    def _open(self) -> list[Intent]:
        """What some controller is submitting now, as far as can be told."""
        return [i for i in self._unsettled() if not _abandoned(i)]

    def _unsettled(self) -> list[Intent]:
        return [i for i in self.intents if i.token not in self.settled]

    def _settle(self, intent: Intent, job: str | None, error: str | None = None) -> bool:
        return self.folder.settle(
            Submission(
                token=intent.token,
                job=job,
                cluster=self.slurm.cluster,
                time=time.time(),
                error=error,
            )
        )

    def _release(self, token: str, job: str) -> None:
        if self.slurm.release(job):
            self.folder.mark_released(token)


def _freed(job: Job) -> bool:
    """Whether it is to be started elsewhere: Slurm drains a node that failed to, mostly."""
    return job.stranded and job.restarts < LAUNCHES


def _abandoned(intent: Intent) -> bool:
    age = time.time() - intent.submitter.time
    return age > ABANDONED_SECONDS or bool(process.gone(intent.submitter))


def _barren(intent: Intent, run: str, attempts: Mapping[str, int]) -> bool:
    """Whether the job that was to take up a run has claimed it no more than those beside it."""
    beside = [runs for runs in intent.elements if run in runs]
    return bool(beside) and all(attempts.get(r) == intent.attempts.get(r) for r in beside[0])


def elements(
    intent: Intent, submission: Submission | None
) -> Iterable[tuple[str, tuple[str, ...]]]:
    """(job id, runs) of each element of a submission; none if there is no job."""
    if submission is None or submission.job is None:
        return []
    if len(intent.elements) == 1:
        return [(submission.job, intent.elements[0])]
    return [(f"{submission.job}_{i}", runs) for i, runs in enumerate(intent.elements)]
