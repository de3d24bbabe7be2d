"""The status of a run, from its files in the store and from what Slurm reports of its job.

The newest attempt decides. It has ended if it left an exit record, if its process has exited (same
host and boot, but no process of that pid and start time), or if Slurm reports that its job has
ended. The age of a heartbeat proves nothing: an attempt without a recent heartbeat and without a
proven end is stalled. `END_RULES` maps how an attempt ended to the status of its run and to the
number of attempts that may end so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.claims import process
from sweeps.claims.attempt_counts import (
    count_attempts_without_progress,
    count_evaluations_without_scores,
)
from sweeps.slurm import Liveness
from uniclip.identity import compute_training_hash
from uniclip.store import (
    AttemptEnd,
    AttemptFolder,
    ClaimRecord,
    EndReason,
    ExitKind,
    Heartbeat,
    Outcome,
    RunFolder,
    RunStatus,
    Store,
    permissions,
)

HEARTBEAT_TIMEOUT_SECONDS = 120.0
"""An attempt whose end cannot be proven is stalled after this time without a heartbeat."""
MAX_SILENT_DEATHS = 5
"""Consecutive attempts that may exit without an exit record and without a checkpoint."""
MAX_ATTEMPTS_WITHOUT_PROGRESS = 20
"""Consecutive attempts that may be interrupted from outside before they reach a checkpoint."""
MAX_REQUEUES = 10
"""Consecutive attempts whose job may be started again before it left an exit record or a
checkpoint. Every job may be requeued, and then Slurm reports a failed node as a requeue: a run that
crashes its node would do so forever. Slurm reports the same for a preemption without time to write
an exit record (GraceTime=0), so an attempt that leaves a checkpoint (or, while it evaluates,
scores) is not counted: such a run makes progress."""
MAX_EVALUATIONS_WITHOUT_SCORES = 3
"""Consecutive attempts on a trained run that may end as evaluated without writing scores."""
TERMINAL_UNFINISHED = (RunStatus.FAILED, RunStatus.PAUSED)
"""Statuses of an unfinished run that is continued on request only."""

JobEndLookup = Callable[[ClaimRecord], EndReason | Liveness]
"""Returns why the job of an attempt ended, or that it has not ended as far as Slurm reports."""
AttemptEnding = EndReason | ExitKind
"""How an attempt ended: its end reason if it was interrupted, else its exit kind."""


@dataclass(frozen=True, kw_only=True)
class EndRule:
    """What follows for a run whose newest attempt ended in a certain way."""

    status: RunStatus = RunStatus.INTERRUPTED
    """Status of the run without an outcome; a trained run then needs evaluation instead."""
    max_attempts: int | None = None
    """Attempts of a run that may end so, consecutive or not; None for no limit."""
    max_without_exit_record: int | None = None
    """Consecutive attempts that may end so without an exit record and without progress."""
    max_without_progress: int | None = None
    """Consecutive attempts that may be interrupted from outside without a checkpoint or scores."""
    max_without_scores: int | None = None
    """Consecutive attempts that may end so without writing any of the scores that are missing."""


_EXTERNAL = EndRule(max_without_progress=MAX_ATTEMPTS_WITHOUT_PROGRESS)
_RESTART = EndRule(
    max_without_exit_record=MAX_REQUEUES, max_without_progress=MAX_ATTEMPTS_WITHOUT_PROGRESS
)
_EVALUATED = EndRule(max_without_scores=MAX_EVALUATIONS_WITHOUT_SCORES)
END_RULES: dict[AttemptEnding, EndRule] = {
    EndReason.PREEMPTED: _EXTERNAL,
    EndReason.TIMEOUT: _EXTERNAL,
    EndReason.CANCELLED: _EXTERNAL,
    EndReason.REQUEUED: _RESTART,
    EndReason.RESTARTED: _RESTART,
    EndReason.OUT_OF_MEMORY: EndRule(max_attempts=2),
    EndReason.NODE_FAIL: EndRule(max_attempts=4),
    EndReason.DISK_FULL: EndRule(max_attempts=4),
    EndReason.DIED: EndRule(max_without_exit_record=MAX_SILENT_DEATHS),
    EndReason.DATA_CHANGED: EndRule(status=RunStatus.FAILED),
    EndReason.STOPPED: _EXTERNAL,
    "failed": EndRule(status=RunStatus.FAILED),
    "paused": EndRule(status=RunStatus.PAUSED),
    "trained": _EVALUATED,
    "evaluated": _EVALUATED,
    "diverged": EndRule(),
    "superseded": EndRule(),
}
"""How the newest attempt of a run ended -> the status of the run, and the limits on such ends."""
EXTERNAL_INTERRUPTIONS = tuple(
    ending for ending, rule in END_RULES.items() if rule.max_without_progress is not None
)
"""Ends that come from outside the run: any number of them is allowed while the run progresses."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run's status and what it was derived from."""

    status: RunStatus
    attempt: int = 0
    """Number of the newest attempt; 0 if there is none."""
    reason: str = ""
    """One phrase for the user that explains the status."""
    end_kind: ExitKind | None = None
    """Exit kind of the newest attempt; None if it left no exit record."""
    end_reason: EndReason | None = None
    """Why the newest attempt was interrupted, if it was."""
    is_data_changed: bool = False
    """Whether the newest attempt failed since the data were not those of the plan."""
    heartbeat: Heartbeat | None = None
    claim_record: ClaimRecord | None = None
    outcome: Outcome | None = None
    is_outdated: bool = False
    """Whether the outcome was produced by a different version of the training code."""

    @property
    def is_runnable(self) -> bool:
        """Whether a worker may claim the run's next attempt without being asked to retry it."""
        return self.status in (
            RunStatus.PENDING,
            RunStatus.INTERRUPTED,
            RunStatus.NEEDS_EVALUATION,
        )


@dataclass(frozen=True, kw_only=True)
class _AttemptState:
    """The records of one attempt and how it ended."""

    claim_record: ClaimRecord | None
    exit_record: AttemptEnd | None
    heartbeat: Heartbeat | None
    ending: AttemptEnding | Liveness


def inspect_run(
    run: RunFolder,
    evaluations: Mapping[str, str],
    job_end_lookup: JobEndLookup | None = None,
    *,
    trust_heartbeat: bool = False,
) -> RunState:
    """Return the state of a run.

    Args:
        run: folder of the run.
        evaluations: data set -> evaluation hash of the scores that the run must have.
        job_end_lookup: how a Slurm job ended; called for an attempt of a job that left no exit
            record and whose process is not known to be alive on this host.
        trust_heartbeat: read three files of an unfinished run instead of five (see
            `_read_attempt`); for displaying runs, not for claiming them.
    """
    try:
        return _inspect_readable_run(run, evaluations, job_end_lookup, trust_heartbeat)
    except PermissionError as error:
        path = Path(error.filename or "")
        if not path.is_relative_to(run.path):
            raise
        return RunState(status=RunStatus.UNREADABLE, reason=permissions.describe_denial(path))


def _inspect_readable_run(
    run: RunFolder,
    evaluations: Mapping[str, str],
    job_end_lookup: JobEndLookup | None,
    trust_heartbeat: bool,
) -> RunState:
    outcome = run.read_outcome()
    is_outdated = outcome is not None and outcome.training_hash not in (
        "",  # another program trained it
        compute_training_hash(),
    )
    if outcome is not None and _is_evaluated(run, outcome, evaluations):
        return RunState(
            status=_classify_finished_run(outcome, is_outdated),
            outcome=outcome,
            is_outdated=is_outdated,
            reason="trained by a different version of the training code" if is_outdated else "",
        )
    attempt_numbers = run.list_attempts()
    if not attempt_numbers:
        return RunState(status=RunStatus.PENDING, reason="not started")
    attempt = _read_attempt(run.get_attempt(attempt_numbers[-1]), job_end_lookup, trust_heartbeat)
    status, reason = _classify_unfinished_run(run, attempt_numbers, attempt, outcome)
    return RunState(
        status=status,
        attempt=attempt_numbers[-1],
        reason=reason,
        end_kind=attempt.exit_record.kind if attempt.exit_record is not None else None,
        end_reason=attempt.ending if isinstance(attempt.ending, EndReason) else None,
        is_data_changed=attempt.exit_record is not None
        and attempt.exit_record.reason is EndReason.DATA_CHANGED,
        heartbeat=attempt.heartbeat,
        claim_record=attempt.claim_record,
        outcome=outcome,
        is_outdated=is_outdated,
    )


def inspect_runs(
    store: Store,
    required_evaluations: Mapping[str, Mapping[str, str]],
    job_end_lookup: JobEndLookup | None = None,
    *,
    trust_heartbeat: bool = False,
) -> dict[str, RunState]:
    """Return run id -> state, for the runs and evaluations of a plan; see `inspect_run`."""
    return {
        run: inspect_run(
            store.get_run(run), evaluations, job_end_lookup, trust_heartbeat=trust_heartbeat
        )
        for run, evaluations in required_evaluations.items()
    }


def _is_evaluated(run: RunFolder, outcome: Outcome, evaluations: Mapping[str, str]) -> bool:
    if outcome.kind == "diverged":
        return True
    return run.has_scores(evaluations)


def _classify_finished_run(outcome: Outcome, is_outdated: bool) -> RunStatus:
    if outcome.kind == "diverged":
        return RunStatus.DIVERGED
    return RunStatus.OUTDATED if is_outdated else RunStatus.COMPLETE


def _read_attempt(
    attempt: AttemptFolder, job_end_lookup: JobEndLookup | None, trust_heartbeat: bool
) -> _AttemptState:
    """Read the records of an attempt and determine how it ended.

    The heartbeat repeats the claim and the exit record. With `trust_heartbeat` these copies are
    used if the heartbeat is recent or contains an exit record. If the attempt seems to have ended,
    the claim and the exit record themselves are read in any case: only they prove the end.
    """
    heartbeat = attempt.read_heartbeat()
    if trust_heartbeat and heartbeat is not None and heartbeat.claim is not None:
        ending = _determine_ending(heartbeat.claim, heartbeat.end, job_end_lookup)
        is_recent = abs(time.time() - heartbeat.time) <= HEARTBEAT_TIMEOUT_SECONDS
        if heartbeat.end is not None or (is_recent and isinstance(ending, Liveness)):
            return _AttemptState(
                claim_record=heartbeat.claim,
                exit_record=heartbeat.end,
                heartbeat=heartbeat,
                ending=ending,
            )
    claim_record, exit_record = attempt.read_claim(), attempt.read_end()
    return _AttemptState(
        claim_record=claim_record,
        exit_record=exit_record,
        heartbeat=heartbeat,
        ending=_determine_ending(claim_record, exit_record, job_end_lookup),
    )


def _determine_ending(
    claim_record: ClaimRecord | None,
    exit_record: AttemptEnd | None,
    job_end_lookup: JobEndLookup | None,
) -> AttemptEnding | Liveness:
    """Return how an attempt ended: from its exit record, its process on this host, or its job."""
    if exit_record is not None:
        if exit_record.kind == "interrupted":
            return exit_record.reason or EndReason.STOPPED
        return exit_record.kind
    if claim_record is None:
        return Liveness.UNKNOWN
    has_exited = process.has_exited(claim_record)
    if has_exited is False:
        return Liveness.ALIVE
    ending: EndReason | Liveness = Liveness.UNKNOWN
    if job_end_lookup is not None and claim_record.job_id:
        ending = job_end_lookup(claim_record)
    return EndReason.DIED if has_exited and isinstance(ending, Liveness) else ending


def _classify_unfinished_run(
    run: RunFolder,
    attempt_numbers: Sequence[int],
    attempt: _AttemptState,
    outcome: Outcome | None,
) -> tuple[RunStatus, str]:
    """Return status and reason of a run that is not trained or not evaluated on every data set."""
    ending = attempt.ending
    if isinstance(ending, Liveness):
        return _classify_attempt_in_progress(attempt.claim_record, attempt.heartbeat, ending)
    rule = END_RULES[ending]
    if rule.status is RunStatus.FAILED:
        error = attempt.exit_record.error if attempt.exit_record is not None else None
        return RunStatus.FAILED, error or "no error message"
    exhausted_reason = _describe_exhausted_attempts(run, attempt_numbers, ending, outcome)
    if exhausted_reason is not None:
        return RunStatus.FAILED, exhausted_reason
    if outcome is not None:
        return RunStatus.NEEDS_EVALUATION, "trained, not evaluated on every data set"
    if rule.status is RunStatus.PAUSED:
        return RunStatus.PAUSED, "paused at runtime.stop_fraction"
    return rule.status, f"last attempt: {describe_ending(ending)}"


def _classify_attempt_in_progress(
    claim_record: ClaimRecord | None, heartbeat: Heartbeat | None, liveness: Liveness
) -> tuple[RunStatus, str]:
    """Return status and reason of a run whose newest attempt is not known to have ended."""
    if claim_record is None:
        return RunStatus.STALLED, "its claim cannot be read"
    silent_seconds = time.time() - max(claim_record.time, heartbeat.time if heartbeat else 0)
    if liveness is Liveness.UNKNOWN and silent_seconds > HEARTBEAT_TIMEOUT_SECONDS:
        return (
            RunStatus.STALLED,
            f"no heartbeat from {claim_record.host} for {silent_seconds:.0f} s; "
            "the end of its process cannot be proven",
        )
    process_label = (
        f"job {claim_record.job_id}" if claim_record.job_id else f"pid {claim_record.pid}"
    )
    return RunStatus.RUNNING, f"{process_label} on {claim_record.host}"


def describe_ending(ending: AttemptEnding) -> str:
    """Return in words how an attempt ended, such as "time limit"."""
    return ending.description if isinstance(ending, EndReason) else ending


def _describe_exhausted_attempts(
    run: RunFolder,
    attempt_numbers: Sequence[int],
    ending: AttemptEnding,
    outcome: Outcome | None,
) -> str | None:
    """Return why a run is not attempted again without being asked to; None if it is.

    Attempts are not read while there are fewer of them than the smallest limit that applies.
    """
    rule = END_RULES[ending]
    if rule.max_without_scores is not None and outcome is not None:
        num_evaluations = count_evaluations_without_scores(run, attempt_numbers, outcome)
        if num_evaluations >= rule.max_without_scores:
            return f"evaluated {num_evaluations} times, and required scores are still missing"
    if rule.max_attempts is not None and len(attempt_numbers) >= rule.max_attempts:
        count = 1 + sum(_read_previous_ending(run, n) == ending for n in attempt_numbers)
        if count >= rule.max_attempts:
            return f"{describe_ending(ending)}, {count} times"
    limits = [rule.max_without_exit_record, rule.max_without_progress]
    smallest_limit = min((limit for limit in limits if limit is not None), default=None)
    numbers_since_outcome = [n for n in attempt_numbers if outcome is None or n > outcome.attempt]
    if smallest_limit is None or len(numbers_since_outcome) < smallest_limit:
        return None
    without_progress, without_exit_record = count_attempts_without_progress(
        run, numbers_since_outcome, EXTERNAL_INTERRUPTIONS
    )
    if (
        rule.max_without_exit_record is not None
        and without_exit_record >= rule.max_without_exit_record
    ):
        subject = "its process died" if ending is EndReason.DIED else "its job was started again"
        return f"{subject} {without_exit_record} times without an exit record or a checkpoint"
    if rule.max_without_progress is not None and without_progress >= rule.max_without_progress:
        return (
            f"{describe_ending(ending)}: "
            f"{without_progress} attempts in a row did not reach a checkpoint"
        )
    return None


def _read_previous_ending(run: RunFolder, number: int) -> AttemptEnding | None:
    """Return how the attempt before `number` ended, as the claim of `number` states it."""
    claim_record = run.get_attempt(number).read_claim()
    if claim_record is None:
        return None
    return claim_record.previous_end_reason or claim_record.previous_end_kind
