"""Who may run what: the state of a run, and the rules by which its next attempt is claimed.

Attempt n exists once `attempts/<n>.claim` is linked. Attempt n + 1 may be claimed only when the end
of n is proven: by its own last word, or because its process is gone (same host, same boot, same pid
with another start time or none), or by the scheduler's word. The age of a heartbeat proves nothing:
it makes a run `lost`.

What has ended without an outcome may be taken up again, within a budget for each kind of end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sweeps.claims import process
from uniclip.identity import compute_training_hash
from uniclip.store import (
    AttemptEnd,
    AttemptFolder,
    ClaimRecord,
    Heartbeat,
    Outcome,
    RunFolder,
    Store,
)

RunStatus = Literal[
    "planned",
    "running",
    "lost",
    "interrupted",
    "halted",
    "failed",
    "due",
    "stale",
    "diverged",
    "complete",
]

HEARTBEAT_TIMEOUT_SECONDS = 120.0
"""Without a heartbeat for so long, an attempt whose end cannot be proven is called lost."""
MAX_SILENT_DEATHS = 5
"""So many attempts in a row that died without a word and without a checkpoint: no more are made."""
MAX_ATTEMPTS_WITHOUT_PROGRESS = 20
"""So many attempts in a row that were interrupted from outside before a checkpoint: no more."""
MAX_REQUEUES = 10
"""So many attempts in a row whose job was started anew before they left a word or a checkpoint: no
more. Every job may be requeued, so Slurm says no more of a failed node than that; a cell that
brings its node down would do so for ever. It says the same of a preemption that came too fast for a
word (GraceTime=0), so what leaves a checkpoint (or, judging, scores) is free here, however often:
its steps advance."""
MAX_ATTEMPTS = {"out of memory": 2, "node failed": 4, "no room on the disk": 4}
"""So many attempts that ended so: no more are made. Preemption and time limits are free."""
RESTART_REASONS = ("requeued", "restarted")
EXTERNAL_INTERRUPTIONS = ("preempted", "timed out", "cancelled", *RESTART_REASONS)
NOT_ENDED = ("alive", "unknown")
"""What is said of an attempt whose end is not proven."""
JobEndLookup = Callable[[ClaimRecord], str]
"""What a scheduler says of an attempt's job: "alive", "unknown", or how it ended."""


TERMINAL_UNFINISHED = ("failed", "halted")
"""Unfinished, and taken up again by who asks for it only."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """What the store says of a run, now."""

    status: RunStatus
    attempt: int = 0
    """Number of the newest attempt; 0 = none."""
    reason: str = ""
    end_reason: str = ""
    """How the newest attempt ended, if it did."""
    heartbeat: Heartbeat | None = None
    claim_record: ClaimRecord | None = None
    outcome: Outcome | None = None
    is_outdated: bool = False
    """Its outcome was made by other training code."""

    @property
    def is_runnable(self) -> bool:
        """Whether somebody may take it up without being asked to."""
        return self.status in ("planned", "interrupted", "due")


def inspect_run(
    run: RunFolder,
    evaluations: Mapping[str, str],
    job_end_lookup: JobEndLookup | None = None,
    *,
    trust_heartbeat: bool = False,
) -> RunState:
    """The state of a run whose benchmark has these evaluation hashes.

    witness: asked about an attempt of a scheduler's job that has no outcome. lightly: for who only
    shows it: three files of an unfinished run instead of five (see `_heard`).
    """
    outcome = run.read_outcome()
    is_outdated = outcome is not None and outcome.training_hash != compute_training_hash()
    if outcome is not None and _is_evaluated(run, outcome, evaluations):
        status: RunStatus = (
            "diverged" if outcome.kind == "diverged" else "stale" if is_outdated else "complete"
        )
        reason = "made by other training code" if is_outdated else ""
        return RunState(status=status, outcome=outcome, is_outdated=is_outdated, reason=reason)
    attempt_numbers = run.list_attempts()
    if not attempt_numbers:
        return RunState(status="planned", reason="never run")
    attempt = run.get_attempt(attempt_numbers[-1])
    claim_record, attempt_end, heartbeat, end_reason = _read_attempt(
        attempt, job_end_lookup, trust_heartbeat
    )
    status, reason = _classify_unfinished_run(
        run, attempt_numbers, end_reason, claim_record, attempt_end, heartbeat, outcome
    )
    return RunState(
        status=status,
        attempt=attempt_numbers[-1],
        reason=reason,
        end_reason="" if end_reason in NOT_ENDED else end_reason,
        heartbeat=heartbeat,
        claim_record=claim_record,
        outcome=outcome,
        is_outdated=is_outdated,
    )


def claim_run(
    store: Store,
    run: RunFolder,
    state: RunState,
    get_numerics: Callable[[], dict[str, Any]],
    *,
    retry_attempts: Collection[tuple[str, int]] = (),
    force_attempts: Collection[tuple[str, int]] = (),
    prepare_run: Callable[[RunFolder], None],
) -> AttemptFolder | None:
    """The next attempt at a run, if it may be had and nobody was faster.

    `again`: (run, attempt) that failed or halted and was asked to go on; `forced`: (run, attempt)
    that was declared dead without proof. `prepare` writes the run's spec where its folder is new;
    `numerics` gives the numerics class of this process, asked only if there is a claim to make.
    """
    attempt_key = (run.id, state.attempt)
    is_forced = attempt_key in force_attempts and state.status in ("lost", "running")
    if not (
        state.is_runnable
        or is_forced
        or (attempt_key in retry_attempts and state.status in TERMINAL_UNFINISHED)
    ):
        return None
    claim_record = process.make_claim_record(
        get_numerics(), previous_end_reason=state.end_reason, forced=is_forced
    )
    is_partly_trained = state.status in ("interrupted", "halted")
    if (
        is_partly_trained
        and state.claim_record
        and state.claim_record.training_hash != compute_training_hash()
    ):
        # Half a run by other code cannot be continued: who gets its next attempt moves it aside
        # (until then that claim speaks for the other code too), and the run starts afresh.
        if (
            _claim_next_attempt(
                run, state, replace(claim_record, training_hash=state.claim_record.training_hash)
            )
            is None
        ):
            return None
        store.supersede(run)
        state = RunState(status="planned")
    prepare_run(run)
    return _claim_next_attempt(run, state, claim_record)


def restart_run(store: Store, run: RunFolder, state: RunState) -> bool:
    """Move a run that has an outcome out of the way; False if somebody else did, or is at it.

    Its next attempt is claimed first, so of two who want to renew a run only one moves it.
    """
    attempt_numbers = run.list_attempts()
    if not attempt_numbers or run.read_outcome() != state.outcome:
        return False
    newest_state = RunState(
        status="due",
        attempt=attempt_numbers[-1],
        claim_record=run.get_attempt(attempt_numbers[-1]).read_claim(),
    )
    if _claim_next_attempt(run, newest_state, process.make_claim_record({})) is None:
        return False
    store.supersede(run)
    return True


def _claim_next_attempt(
    run: RunFolder, state: RunState, claim_record: ClaimRecord
) -> AttemptFolder | None:
    """Attempt n + 1, if attempt n is still the one that `state` speaks of."""
    try:
        attempt = run.claim_attempt(state.attempt + 1, claim_record)
    except (FileNotFoundError, FileExistsError):
        return None  # the run was moved aside at this very moment, its folder gone or made anew
    if attempt is not None and state.attempt:
        if run.get_attempt(state.attempt).read_claim() != state.claim_record:
            attempt.claim_path.unlink()  # meanwhile it was moved aside and begun afresh
            return None
    return attempt


def _is_evaluated(run: RunFolder, outcome: Outcome, evaluations: Mapping[str, str]) -> bool:
    if outcome.kind == "diverged":
        return True
    required_scores = {
        run.scores_path(name, evaluation_hash) for name, evaluation_hash in evaluations.items()
    }
    return not required_scores or required_scores <= run.list_score_paths()


def _read_attempt(
    attempt: AttemptFolder, job_end_lookup: JobEndLookup | None, trust_heartbeat: bool
) -> tuple[ClaimRecord | None, AttemptEnd | None, Heartbeat | None, str]:
    """Owner, last word, last sign of life, and how it ended.

    A sign of life repeats the other two. Lightly, it is believed where it is fresh or repeats a
    last word. What looks dead is asked for its claim and its last word all the same: they alone
    prove it.
    """
    heartbeat = attempt.read_heartbeat()
    if trust_heartbeat and heartbeat is not None and heartbeat.claim is not None:
        end_reason = _determine_end_reason(heartbeat.claim, heartbeat.end, job_end_lookup)
        is_fresh = (
            abs(time.time() - heartbeat.time) <= HEARTBEAT_TIMEOUT_SECONDS
            and end_reason in NOT_ENDED
        )
        if heartbeat.end is not None or is_fresh:
            return heartbeat.claim, heartbeat.end, heartbeat, end_reason
    claim_record, attempt_end = attempt.read_claim(), attempt.read_end()
    return (
        claim_record,
        attempt_end,
        heartbeat,
        _determine_end_reason(claim_record, attempt_end, job_end_lookup),
    )


def _determine_end_reason(
    claim_record: ClaimRecord | None,
    attempt_end: AttemptEnd | None,
    job_end_lookup: JobEndLookup | None,
) -> str:
    """How an attempt ended: "alive", "unknown", its own last word, or its witnesses' word."""
    if attempt_end is not None:
        return (
            (attempt_end.error or "asked to stop")
            if attempt_end.kind == "interrupted"
            else attempt_end.kind
        )
    if claim_record is None:
        return "unknown"
    has_exited = process.has_exited(claim_record)
    if has_exited is False:
        return "alive"
    end_reason = (
        job_end_lookup(claim_record) if job_end_lookup and claim_record.job_id else "unknown"
    )
    return "died" if has_exited and end_reason in NOT_ENDED else end_reason


def _classify_unfinished_run(
    run: RunFolder,
    attempt_numbers: list[int],
    end_reason: str,
    claim_record: ClaimRecord | None,
    attempt_end: AttemptEnd | None,
    heartbeat: Heartbeat | None,
    outcome: Outcome | None,
) -> tuple[RunStatus, str]:
    """State and reason of a run whose newest attempt ended, or did not, as `after` says."""
    if attempt_end is not None and attempt_end.kind == "failed":
        return "failed", attempt_end.error or "no error line"
    if attempt_end is not None and attempt_end.kind == "halted" and outcome is None:
        return "halted", "where a tuning let it halt"
    if end_reason not in NOT_ENDED:
        exhausted_reason = _describe_exhausted_attempts(run, attempt_numbers, end_reason, outcome)
        if exhausted_reason:
            return "failed", exhausted_reason
        if outcome is not None:
            return "due", "trained, evaluation lacks"
        reason = "its process is gone" if end_reason == "died" else f"{end_reason} before its end"
        return "interrupted", reason
    if claim_record is None:
        return "lost", "its claim cannot be read"
    silent_seconds = time.time() - max(claim_record.time, heartbeat.time if heartbeat else 0)
    if end_reason == "unknown" and silent_seconds > HEARTBEAT_TIMEOUT_SECONDS:
        return (
            "lost",
            f"no sign of life from {claim_record.host} for {silent_seconds:.0f} s, no proof of death",
        )
    process_label = (
        f"job {claim_record.job_id}" if claim_record.job_id else f"pid {claim_record.pid}"
    )
    return "running", f"{process_label} on {claim_record.host}"


def _describe_exhausted_attempts(
    run: RunFolder, attempt_numbers: list[int], end_reason: str, outcome: Outcome | None
) -> str | None:
    """Why no further attempt is made unasked, if so; fewer attempts than a budget are not read."""
    max_attempts = MAX_ATTEMPTS.get(end_reason)
    if max_attempts is not None and len(attempt_numbers) >= max_attempts:
        count = 1 + sum(_read_previous_end_reason(run, n) == end_reason for n in attempt_numbers)
        if count >= max_attempts:
            return f"{end_reason}, {count} times"
    numbers_since_outcome = [n for n in attempt_numbers if outcome is None or n > outcome.attempt]
    if len(numbers_since_outcome) < min(
        MAX_SILENT_DEATHS, MAX_REQUEUES, MAX_ATTEMPTS_WITHOUT_PROGRESS
    ) or end_reason not in ("died", *EXTERNAL_INTERRUPTIONS):
        return None
    without_progress, without_end_record = _count_attempts_without_progress(
        run, numbers_since_outcome
    )
    if end_reason == "died" and without_end_record >= MAX_SILENT_DEATHS:
        return f"its process died {without_end_record} times without a word or a checkpoint"
    if end_reason in RESTART_REASONS and without_end_record >= MAX_REQUEUES:
        return f"its job was started anew {without_end_record} times without a word or a checkpoint"
    if end_reason in EXTERNAL_INTERRUPTIONS and without_progress >= MAX_ATTEMPTS_WITHOUT_PROGRESS:
        return f"{end_reason}: {without_progress} attempts in a row did not reach a checkpoint"
    return None


def _count_attempts_without_progress(run: RunFolder, attempt_numbers: list[int]) -> tuple[int, int]:
    """How many attempts in a row ended against their will and left no checkpoint and no scores; and
    how many of these, from the newest on, left no word either."""
    scored_at = max(map(_read_mtime, run.list_score_paths()), default=0.0)
    count = without_end_record = 0
    for number in reversed(attempt_numbers):
        attempt = run.get_attempt(number)
        attempt_end = attempt.read_end()
        ended_by_itself = (
            attempt_end is not None and attempt_end.error not in EXTERNAL_INTERRUPTIONS
        )
        has_checkpoint = any(attempt.checkpoints_path.glob("*.safetensors"))
        if ended_by_itself or has_checkpoint or _read_mtime(attempt.claim_path) < scored_at:
            break
        without_end_record += attempt_end is None and without_end_record == count
        count += 1
    return count, without_end_record


def _read_mtime(path: Path) -> float:
    """When a file of the store was, by the clock of its file system; 0 if it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read_previous_end_reason(run: RunFolder, number: int) -> str:
    claim_record = run.get_attempt(number).read_claim()
    return claim_record.previous_end_reason if claim_record else ""
