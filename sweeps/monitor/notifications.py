"""What a user is told of sweeps: failed cells, nothing that runs, hours that are spent, the end.

Each failure and each end is told once, whichever command of the sweep sees it: `notified.jsonl` in
the sweep's folder lists what was sent. A tuning runs several sweeps: that of the default arms, one
for each round of trials, and that of the tuned arms. Of trials only failures are told, since values
with which training diverges are a result of the search; their number is told when they are done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeps.claims.status import RunState
from uniclip.io.atomic import append_jsonl, read_jsonl
from uniclip.store import Plan, RunStatus, Store, SweepFolder

IDLE_SECONDS = 300.0
"""Time without a running cell after which the user is told."""
SPENT_SHARE = 0.9
"""Share of `max_gpu_hours` of which the user is told."""
OPEN_STATUSES = (RunStatus.RUNNING, RunStatus.STALLED)
"""Statuses of runs that may change without being started again."""
MAX_REASON_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class SweepStates:
    """A sweep as it was found."""

    plan: Plan
    states: Mapping[str, RunState]
    """Run id -> state, of every run of the plan."""

    @property
    def has_ended(self) -> bool:
        """Whether none of its runs is executed or waits for a worker."""
        return not any(s.is_runnable or s.status in OPEN_STATUSES for s in self.states.values())


@dataclass(frozen=True, kw_only=True)
class Notification:
    """One line for the user."""

    sweep_id: str
    text: str
    record: Mapping[str, Any]
    """What is compared with the records of what was sent."""
    is_recorded: bool = True
    """Whether the record is kept in the sweep's folder, not only until the command ends."""

    @property
    def line(self) -> str:
        """The line that is sent."""
        return f"{self.sweep_id}: {self.text}"


@dataclass(kw_only=True)
class SweepNotifications:
    """Decides what is to be sent, from the states of the runs of one or more sweeps."""

    store: Store
    max_gpu_hours: float | None = None
    gpus_per_run: int = 0
    """GPUs of a run; 0: a CPU worker, which counts as one."""
    _idle_since: float | None = field(default=None, init=False)
    _started_at: float | None = field(default=None, init=False)
    _seconds: dict[tuple[str, int], float] = field(default_factory=dict, init=False)
    """(run, attempt) -> seconds that it has taken since the command began."""
    _sent_records: list[Mapping[str, Any]] = field(default_factory=list, init=False)

    def collect(
        self, sweeps: Sequence[SweepStates], now: float, *, is_last: bool = False
    ) -> list[Notification]:
        """Return what was not sent yet.

        Args:
            sweeps: what the command runs; the last one is that of now.
            now: seconds since the epoch, as the records of attempts have them.
            is_last: whether nothing of the last sweep is left to run.
        """
        self._started_at = now if self._started_at is None else self._started_at
        folders = [self.store.get_sweep(sweep.plan.sweep_id) for sweep in sweeps]
        candidates = [
            *(n for pair in zip(sweeps, folders) for n in _list_bad_cells(*pair)),
            *_describe_trials(sweeps, folders),
            *self._describe_idleness(sweeps, now),
            *self._describe_spent_hours(sweeps),
            *(_describe_end(sweeps[-1]) if is_last else ()),
        ]
        sent_records = [r for folder in folders for r in read_jsonl(folder.notified_path)]
        return [n for n in candidates if n.record not in [*sent_records, *self._sent_records]]

    def mark_sent(self, notifications: Iterable[Notification]) -> None:
        """Record what was sent, so that no command sends it again."""
        for notification in notifications:
            self._sent_records.append(notification.record)
            if notification.is_recorded:
                folder = self.store.get_sweep(notification.sweep_id)
                append_jsonl(folder.notified_path, notification.record)

    def _describe_idleness(
        self, sweeps: Sequence[SweepStates], now: float
    ) -> Iterator[Notification]:
        states = [state for sweep in sweeps for state in sweep.states.values()]
        is_running = any(state.status == RunStatus.RUNNING for state in states)
        num_open = sum(state.is_runnable for state in states)
        if is_running or not num_open:
            self._idle_since = None
            return
        self._idle_since = now if self._idle_since is None else self._idle_since
        idle_seconds = now - self._idle_since
        if idle_seconds >= IDLE_SECONDS:
            yield Notification(
                sweep_id=sweeps[-1].plan.sweep_id,
                text=f"nothing has run for {idle_seconds / 60:.0f} minutes, and {num_open} runs "
                "are open",
                record={"idle_since": self._idle_since},
                is_recorded=False,
            )

    def _describe_spent_hours(self, sweeps: Sequence[SweepStates]) -> Iterator[Notification]:
        """Yield a line if most of the hours are spent, as far as heartbeats say."""
        assert self._started_at is not None
        for run, state in (item for sweep in sweeps for item in sweep.states.items()):
            claim, heartbeat = state.claim_record, state.heartbeat
            if claim is not None and heartbeat is not None:
                seconds = heartbeat.time - max(claim.time, self._started_at)
                self._seconds[run, state.attempt] = max(0.0, seconds)
        hours = sum(self._seconds.values()) * max(self.gpus_per_run, 1) / 3600
        limit = self.max_gpu_hours
        if limit is not None and hours >= SPENT_SHARE * limit:
            yield Notification(
                sweep_id=sweeps[-1].plan.sweep_id,
                text=f"{hours:.3g} of max_gpu_hours={limit:g} are spent",
                record={"max_gpu_hours": limit},
                is_recorded=False,
            )


def _list_bad_cells(sweep: SweepStates, folder: SweepFolder) -> Iterator[Notification]:
    """Yield a line for each cell that failed or, unless it is of a trial, diverged."""
    statuses = (RunStatus.FAILED, *(() if folder.is_round else (RunStatus.DIVERGED,)))
    for cell in sweep.plan.cells:
        state = sweep.states[cell.run_id]
        if state.status in statuses:
            attempt = state.outcome.attempt if state.outcome is not None else state.attempt
            yield Notification(
                sweep_id=folder.id,
                text=f"{cell.name} {_describe_failure(state)}",
                record={
                    "cell": cell.name,
                    "run": cell.run_id,
                    "attempt": attempt,
                    "status": str(state.status),
                },
            )


def _describe_trials(
    sweeps: Sequence[SweepStates], folders: Sequence[SweepFolder]
) -> Iterator[Notification]:
    """Yield a line when the tuned arms are reached and trials have been run before."""
    plan = sweeps[-1].plan
    if plan.tuning is not None and any(folder.is_round for folder in folders):
        counts = {
            "trials": sum(arm.n_trials for arm in plan.tuning.arms),
            "stopped early": sum(arm.n_pruned for arm in plan.tuning.arms),
            "runs diverged": sum(arm.n_diverged for arm in plan.tuning.arms),
        }
        summary = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
        yield Notification(
            sweep_id=plan.sweep_id,
            text=f"tuning done ({summary}); the tuned arms are next",
            record={"tuning": plan.tuning.study},
        )


def _describe_end(sweep: SweepStates) -> Iterator[Notification]:
    """Yield the line on the end of a sweep."""
    counts = Counter(sweep.states[cell.run_id].status for cell in sweep.plan.cells)
    summary = ", ".join(f"{number} {status}" for status, number in counts.items())
    yield Notification(
        sweep_id=sweep.plan.sweep_id,
        text=f"done ({summary})",
        record={"done": summary, "attempts": _count_attempts(sweep.states)},
    )


def _count_attempts(states: Mapping[str, RunState]) -> int:
    """Return the number of attempts of all runs: it grows whenever something is run."""
    return sum(
        state.outcome.attempt if state.outcome is not None else state.attempt
        for state in states.values()
    )


def _describe_failure(state: RunState) -> str:
    """Return how a run ended that failed or diverged."""
    if state.outcome is not None:
        return f"{state.status} at step {state.outcome.step}"
    reason = state.reason[:MAX_REASON_LENGTH]
    return f"{state.status}: {reason}" if reason else str(state.status)
