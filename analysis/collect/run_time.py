"""What a run took, over all its attempts, and how much of that was lost to its interruptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uniclip.io.atomic import lines
from uniclip.store import AttemptFolder, Outcome, RunFolder

SECONDS_A_STEP = "seconds_per_step"


@dataclass(frozen=True, kw_only=True)
class Spending:
    """Wall time of a run, in seconds."""

    seconds: float
    """From each claim to the attempt's last sign of life, added up; evaluations included."""
    attempts: int
    lost_seconds: float
    """Of attempts before the one that published: all but the training that it went on from. While
    there is no outcome nothing has come of any."""
    ends: dict[str, int]
    """How attempts ended (preempted, timed out, died, failed, ...) but the one that published and
    those after it, and how often."""

    @property
    def useful_seconds(self) -> float:
        """What it would have taken undisturbed."""
        return self.seconds - self.lost_seconds


def spending(run: RunFolder, outcome: Outcome | None) -> Spending | None:
    """What a run took, be it for nothing as yet; None when nobody wrote down its attempts."""
    attempts = [run.attempt(number) for number in run.attempts()]
    walls = {a.number: wall for a in attempts if (wall := wall_seconds(a)) is not None}
    if not walls:
        return None
    total = sum(walls.values())
    return Spending(
        seconds=total,
        attempts=len(attempts),
        lost_seconds=total if outcome is None else _lost(run, outcome, walls),
        ends=dict(_ends(attempts, outcome)),
    )


def _lost(run: RunFolder, outcome: Outcome, walls: Mapping[int, float]) -> float:
    """Seconds of the attempts before the one that published which it did not go on from."""
    if run.attempts()[0] >= outcome.attempt:
        return 0.0
    before = sum(wall for number, wall in walls.items() if number < outcome.attempt)
    trained = outcome.cost.get(SECONDS_A_STEP, 0.0) * outcome.step
    gone_on_from = max(0.0, trained - _spent(run.attempt(outcome.attempt)))
    return max(0.0, before - gone_on_from)


def _ends(attempts: Sequence[AttemptFolder], outcome: Outcome | None) -> Counter[str]:
    """How attempts ended, by the word of those that came after them; the newest, by its own."""
    later = [a for a in attempts[1:] if outcome is None or a.number <= outcome.attempt]
    owners = [owner for a in later if (owner := a.owner()) is not None]
    ends = Counter(owner.after or "interrupted" for owner in owners)
    ended = attempts[-1].ended() if outcome is None else None
    if ended is not None:
        ends[(ended.error if ended.kind == "interrupted" else None) or ended.kind] += 1
    return ends


def wall_seconds(attempt: AttemptFolder) -> float | None:
    """From the claim to the last sign of life; None if there is none."""
    owner, ended, beat = attempt.owner(), attempt.ended(), attempt.heartbeat()
    last = ended.time if ended else beat.time if beat else None
    return None if owner is None or last is None else max(0.0, last - owner.time)


def spoken(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _spent(attempt: AttemptFolder) -> float:
    """Seconds of training in one attempt, lost steps included."""
    return max((r.get("spent", 0.0) for r in lines(attempt.metrics)), default=0.0)
