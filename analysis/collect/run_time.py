"""What a run took, over all its attempts, and how much of that was lost to its interruptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uniclip.io.atomic import read_jsonl
from uniclip.store import AttemptFolder, Outcome, RunFolder

SECONDS_PER_STEP = "seconds_per_step"


@dataclass(frozen=True, kw_only=True)
class RunTime:
    """Wall time of a run, in seconds."""

    wall_seconds: float
    """From each claim to the attempt's last sign of life, added up; evaluations included."""
    num_attempts: int
    wasted_seconds: float
    """Of attempts before the one that published: all but the training that it went on from. While
    there is no outcome nothing has come of any."""
    end_reason_counts: dict[str, int]
    """How attempts ended (preempted, timed out, died, failed, ...) but the one that published and
    those after it, and how often."""

    @property
    def productive_seconds(self) -> float:
        """What it would have taken undisturbed."""
        return self.wall_seconds - self.wasted_seconds


def measure_run_time(run: RunFolder, outcome: Outcome | None) -> RunTime | None:
    """What a run took, be it for nothing as yet; None when nobody wrote down its attempts."""
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
        else _compute_wasted_seconds(run, outcome, seconds_by_attempt),
        end_reason_counts=dict(_count_end_reasons(attempts, outcome)),
    )


def _compute_wasted_seconds(
    run: RunFolder, outcome: Outcome, seconds_by_attempt: Mapping[int, float]
) -> float:
    """Seconds of the attempts before the one that published which it did not go on from."""
    if run.list_attempts()[0] >= outcome.attempt:
        return 0.0
    earlier_seconds = sum(
        attempt_seconds
        for number, attempt_seconds in seconds_by_attempt.items()
        if number < outcome.attempt
    )
    training_seconds = outcome.cost.get(SECONDS_PER_STEP, 0.0) * outcome.step
    resumed_seconds = max(
        0.0, training_seconds - _read_training_seconds(run.get_attempt(outcome.attempt))
    )
    return max(0.0, earlier_seconds - resumed_seconds)


def _count_end_reasons(attempts: Sequence[AttemptFolder], outcome: Outcome | None) -> Counter[str]:
    """How attempts ended, by the word of those that came after them; the newest, by its own."""
    later_attempts = [a for a in attempts[1:] if outcome is None or a.number <= outcome.attempt]
    claim_records = [
        claim_record for a in later_attempts if (claim_record := a.read_claim()) is not None
    ]
    reason_counts = Counter(
        claim_record.previous_end_reason or "interrupted" for claim_record in claim_records
    )
    attempt_end = attempts[-1].read_end() if outcome is None else None
    if attempt_end is not None:
        reason_counts[
            (attempt_end.error if attempt_end.kind == "interrupted" else None) or attempt_end.kind
        ] += 1
    return reason_counts


def measure_wall_seconds(attempt: AttemptFolder) -> float | None:
    """From the claim to the last sign of life; None if there is none."""
    claim_record, attempt_end, heartbeat = (
        attempt.read_claim(),
        attempt.read_end(),
        attempt.read_heartbeat(),
    )
    last_time = attempt_end.time if attempt_end else heartbeat.time if heartbeat else None
    return (
        None
        if claim_record is None or last_time is None
        else max(0.0, last_time - claim_record.time)
    )


def format_duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _read_training_seconds(attempt: AttemptFolder) -> float:
    """Seconds of training in one attempt, lost steps included."""
    return max(
        (record.get("attempt_seconds", 0.0) for record in read_jsonl(attempt.metrics_path)), default=0.0
    )
