"""Run time: wall time of a run over all of its attempts, and the part lost to interruptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uniclip.store import AttemptFolder, Outcome, RunFolder

SECONDS_PER_STEP = "seconds_per_step"
"""Key of an outcome's cost."""


@dataclass(frozen=True, kw_only=True)
class RunTime:
    """Wall time of a run, in seconds."""

    wall_seconds: float
    """Sum over attempts of the time from the claim to the last heartbeat; evaluation included."""
    num_attempts: int
    wasted_seconds: float
    """Seconds of the attempts before the one that published the outcome, except the training that
    this one continued from. Without an outcome, all seconds."""
    end_reason_counts: dict[str, int]
    """End reason (or exit kind) -> number of attempts, except the one that published the outcome
    and those after it."""

    @property
    def productive_seconds(self) -> float:
        """Seconds that the run would have taken without interruptions."""
        return self.wall_seconds - self.wasted_seconds


def measure_run_time(run: RunFolder, outcome: Outcome | None) -> RunTime | None:
    """Return the run time of a run; None if no attempt left a claim and a heartbeat or end."""
    attempts = [run.get_attempt(number) for number in run.list_attempts()]
    seconds_by_attempt = {
        a.number: attempt_seconds
        for a in attempts
        if (attempt_seconds := measure_wall_seconds(a)) is not None
    }
    if not seconds_by_attempt:
        return None
    total_seconds = sum(seconds_by_attempt.values())
    return RunTime(
        wall_seconds=total_seconds,
        num_attempts=len(attempts),
        wasted_seconds=total_seconds
        if outcome is None
        else _compute_wasted_seconds(run, attempts[0].number, outcome, seconds_by_attempt),
        end_reason_counts=dict(_count_end_reasons(attempts, outcome)),
    )


def measure_wall_seconds(attempt: AttemptFolder) -> float | None:
    """Return the seconds from the claim to the exit record or last heartbeat; None without one."""
    claim_record, attempt_end = attempt.read_claim(), attempt.read_end()
    heartbeat = None if attempt_end else attempt.read_heartbeat()
    last_time = attempt_end.time if attempt_end else heartbeat.time if heartbeat else None
    if claim_record is None or last_time is None:
        return None
    return max(0.0, last_time - claim_record.time)


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours, such as "12 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _compute_wasted_seconds(
    run: RunFolder, first_attempt: int, outcome: Outcome, seconds_by_attempt: Mapping[int, float]
) -> float:
    """Return the seconds of earlier attempts that the publishing attempt did not continue from."""
    if first_attempt >= outcome.attempt:
        return 0.0
    earlier_seconds = sum(
        attempt_seconds
        for number, attempt_seconds in seconds_by_attempt.items()
        if number < outcome.attempt
    )
    training_seconds = outcome.cost.get(SECONDS_PER_STEP, 0.0) * outcome.step
    last_seconds = run.get_attempt(outcome.attempt).read_training_seconds()
    resumed_seconds = max(0.0, training_seconds - last_seconds)
    return max(0.0, earlier_seconds - resumed_seconds)


def _count_end_reasons(attempts: Sequence[AttemptFolder], outcome: Outcome | None) -> Counter[str]:
    """Count end reasons: of earlier attempts from the next claim, of the newest from its record."""
    later_attempts = [a for a in attempts[1:] if outcome is None or a.number <= outcome.attempt]
    claim_records = [
        claim_record for a in later_attempts if (claim_record := a.read_claim()) is not None
    ]
    reason_counts: Counter[str] = Counter(
        claim_record.previous_end_reason or claim_record.previous_end_kind or "interrupted"
        for claim_record in claim_records
    )
    attempt_end = attempts[-1].read_end() if outcome is None else None
    if attempt_end is not None:
        reason_counts[attempt_end.reason or attempt_end.kind] += 1
    return reason_counts
