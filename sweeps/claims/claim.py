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
from uniclip.identity import training_hash
from uniclip.store import AttemptFolder, Ended, Heartbeat, Outcome, Owner, RunFolder, Store

Kind = Literal[
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

SILENT_SECONDS = 120.0
"""Without a heartbeat for so long, an attempt whose end cannot be proven is called lost."""
DEATHS = 5
"""So many attempts in a row that died without a word and without a checkpoint: no more are made."""
FRUITLESS = 20
"""So many attempts in a row that were interrupted from outside before a checkpoint: no more."""
RESTARTS = 10
"""So many attempts in a row whose job was started anew before they left a word or a checkpoint: no
more. Every job may be requeued, so Slurm says no more of a failed node than that; a cell that
brings its node down would do so for ever. It says the same of a preemption that came too fast for a
word (GraceTime=0), so what leaves a checkpoint (or, judging, scores) is free here, however often:
its steps advance."""
BUDGET = {"out of memory": 2, "node failed": 4, "no room on the disk": 4}
"""So many attempts that ended so: no more are made. Preemption and time limits are free."""
ANEW = ("requeued", "restarted")
FROM_OUTSIDE = ("preempted", "timed out", "cancelled", *ANEW)
UNENDED = ("alive", "unknown")
"""What is said of an attempt whose end is not proven."""
Witness = Callable[[Owner], str]
"""What a scheduler says of an attempt's job: "alive", "unknown", or how it ended."""


AT_REST = ("failed", "halted")
"""Unfinished, and taken up again by who asks for it only."""


@dataclass(frozen=True, kw_only=True)
class State:
    """What the store says of a run, now."""

    kind: Kind
    attempt: int = 0
    """Number of the newest attempt; 0 = none."""
    reason: str = ""
    after: str = ""
    """How the newest attempt ended, if it did."""
    heartbeat: Heartbeat | None = None
    owner: Owner | None = None
    outcome: Outcome | None = None
    stale: bool = False
    """Its outcome was made by other training code."""

    @property
    def open(self) -> bool:
        """Whether somebody may take it up without being asked to."""
        return self.kind in ("planned", "interrupted", "due")


def look(
    run: RunFolder,
    evaluations: Mapping[str, str],
    witness: Witness | None = None,
    *,
    lightly: bool = False,
) -> State:
    """The state of a run whose benchmark has these evaluation hashes.

    witness: asked about an attempt of a scheduler's job that has no outcome. lightly: for who only
    shows it: three files of an unfinished run instead of five (see `_heard`).
    """
    outcome = run.outcome()
    stale = outcome is not None and outcome.training != training_hash()
    if outcome is not None and _judged(run, outcome, evaluations):
        kind: Kind = "diverged" if outcome.kind == "diverged" else "stale" if stale else "complete"
        reason = "made by other training code" if stale else ""
        return State(kind=kind, outcome=outcome, stale=stale, reason=reason)
    numbers = run.attempts()
    if not numbers:
        return State(kind="planned", reason="never run")
    attempt = run.attempt(numbers[-1])
    owner, ended, beat, after = _heard(attempt, witness, lightly)
    kind, reason = _unfinished(run, numbers, after, owner, ended, beat, outcome)
    return State(
        kind=kind,
        attempt=numbers[-1],
        reason=reason,
        after="" if after in UNENDED else after,
        heartbeat=beat,
        owner=owner,
        outcome=outcome,
        stale=stale,
    )


def claim(
    store: Store,
    run: RunFolder,
    state: State,
    numerics: Callable[[], dict[str, Any]],
    *,
    again: Collection[tuple[str, int]] = (),
    forced: Collection[tuple[str, int]] = (),
    prepare: Callable[[RunFolder], None],
) -> AttemptFolder | None:
    """The next attempt at a run, if it may be had and nobody was faster.

    `again`: (run, attempt) that failed or halted and was asked to go on; `forced`: (run, attempt)
    that was declared dead without proof. `prepare` writes the run's spec where its folder is new;
    `numerics` gives the numerics class of this process, asked only if there is a claim to make.
    """
    asked = (run.id, state.attempt)
    force = asked in forced and state.kind in ("lost", "running")
    if not (state.open or force or (asked in again and state.kind in AT_REST)):
        return None
    mine = process.owner(numerics(), after=state.after, forced=force)
    half = state.kind in ("interrupted", "halted")
    if half and state.owner and state.owner.training != training_hash():
        # Half a run by other code cannot be continued: who gets its next attempt moves it aside
        # (until then that claim speaks for the other code too), and the run starts afresh.
        if _next(run, state, replace(mine, training=state.owner.training)) is None:
            return None
        store.supersede(run)
        state = State(kind="planned")
    prepare(run)
    return _next(run, state, mine)


def renew(store: Store, run: RunFolder, state: State) -> bool:
    """Move a run that has an outcome out of the way; False if somebody else did, or is at it.

    Its next attempt is claimed first, so of two who want to renew a run only one moves it.
    """
    numbers = run.attempts()
    if not numbers or run.outcome() != state.outcome:
        return False
    newest = State(kind="due", attempt=numbers[-1], owner=run.attempt(numbers[-1]).owner())
    if _next(run, newest, process.owner({})) is None:
        return False
    store.supersede(run)
    return True


def _next(run: RunFolder, state: State, owner: Owner) -> AttemptFolder | None:
    """Attempt n + 1, if attempt n is still the one that `state` speaks of."""
    try:
        attempt = run.claim(state.attempt + 1, owner)
    except (FileNotFoundError, FileExistsError):
        return None  # the run was moved aside at this very moment, its folder gone or made anew
    if attempt is not None and state.attempt:
        if run.attempt(state.attempt).owner() != state.owner:
            attempt.claim.unlink()  # meanwhile it was moved aside and begun afresh
            return None
    return attempt


def _judged(run: RunFolder, outcome: Outcome, evaluations: Mapping[str, str]) -> bool:
    if outcome.kind == "diverged":
        return True
    wanted = {run.scores_path(name, hash_) for name, hash_ in evaluations.items()}
    return not wanted or wanted <= run.scored()


def _heard(
    attempt: AttemptFolder, witness: Witness | None, lightly: bool
) -> tuple[Owner | None, Ended | None, Heartbeat | None, str]:
    """Owner, last word, last sign of life, and how it ended.

    A sign of life repeats the other two. Lightly, it is believed where it is fresh or repeats a
    last word. What looks dead is asked for its claim and its last word all the same: they alone
    prove it.
    """
    beat = attempt.heartbeat()
    if lightly and beat is not None and beat.owner is not None:
        after = _after(beat.owner, beat.ended, witness)
        fresh = abs(time.time() - beat.time) <= SILENT_SECONDS and after in UNENDED
        if beat.ended is not None or fresh:
            return beat.owner, beat.ended, beat, after
    owner, ended = attempt.owner(), attempt.ended()
    return owner, ended, beat, _after(owner, ended, witness)


def _after(owner: Owner | None, ended: Ended | None, witness: Witness | None) -> str:
    """How an attempt ended: "alive", "unknown", its own last word, or its witnesses' word."""
    if ended is not None:
        return (ended.error or "asked to stop") if ended.kind == "interrupted" else ended.kind
    if owner is None:
        return "unknown"
    gone = process.gone(owner)
    if gone is False:
        return "alive"
    word = witness(owner) if witness and owner.job else "unknown"
    return "died" if gone and word in UNENDED else word


def _unfinished(
    run: RunFolder,
    numbers: list[int],
    after: str,
    owner: Owner | None,
    ended: Ended | None,
    beat: Heartbeat | None,
    outcome: Outcome | None,
) -> tuple[Kind, str]:
    """State and reason of a run whose newest attempt ended, or did not, as `after` says."""
    if ended is not None and ended.kind == "failed":
        return "failed", ended.error or "no error line"
    if ended is not None and ended.kind == "halted" and outcome is None:
        return "halted", "where a tuning let it halt"
    if after not in UNENDED:
        spent = _spent(run, numbers, after, outcome)
        if spent:
            return "failed", spent
        if outcome is not None:
            return "due", "trained, evaluation lacks"
        words = "its process is gone" if after == "died" else f"{after} before its end"
        return "interrupted", words
    if owner is None:
        return "lost", "its claim cannot be read"
    silent = time.time() - max(owner.time, beat.time if beat else 0)
    if after == "unknown" and silent > SILENT_SECONDS:
        return "lost", f"no sign of life from {owner.host} for {silent:.0f} s, no proof of death"
    job = f"job {owner.job}" if owner.job else f"pid {owner.pid}"
    return "running", f"{job} on {owner.host}"


def _spent(run: RunFolder, numbers: list[int], after: str, outcome: Outcome | None) -> str | None:
    """Why no further attempt is made unasked, if so; fewer attempts than a budget are not read."""
    most = BUDGET.get(after)
    if most is not None and len(numbers) >= most:
        times = 1 + sum(_owner_after(run, n) == after for n in numbers)
        if times >= most:
            return f"{after}, {times} times"
    since = [n for n in numbers if outcome is None or n > outcome.attempt]
    if len(since) < min(DEATHS, RESTARTS, FRUITLESS) or after not in ("died", *FROM_OUTSIDE):
        return None
    barren, wordless = _barren(run, since)
    if after == "died" and wordless >= DEATHS:
        return f"its process died {wordless} times without a word or a checkpoint"
    if after in ANEW and wordless >= RESTARTS:
        return f"its job was started anew {wordless} times without a word or a checkpoint"
    if after in FROM_OUTSIDE and barren >= FRUITLESS:
        return f"{after}: {barren} attempts in a row did not reach a checkpoint"
    return None


def _barren(run: RunFolder, numbers: list[int]) -> tuple[int, int]:
    """How many attempts in a row ended against their will and left no checkpoint and no scores; and
    how many of these, from the newest on, left no word either."""
    judged = max(map(_written, run.scored()), default=0.0)
    count = wordless = 0
    for number in reversed(numbers):
        attempt = run.attempt(number)
        ended = attempt.ended()
        asked = ended is not None and ended.error not in FROM_OUTSIDE
        saved = any(attempt.checkpoints.glob("*.safetensors"))
        if asked or saved or _written(attempt.claim) < judged:
            break
        wordless += ended is None and wordless == count
        count += 1
    return count, wordless


def _written(path: Path) -> float:
    """When a file of the store was, by the clock of its file system; 0 if it is gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _owner_after(run: RunFolder, number: int) -> str:
    owner = run.attempt(number).owner()
    return owner.after if owner else ""
