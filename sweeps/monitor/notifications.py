"""What a user is told of a sweep: failed cells, nothing that runs, hours that are spent, its end.

Each failure and each end is told once, whichever command of the sweep sees it: `notified.jsonl` in
the sweep's folder lists what was sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeps.claims.status import RunState
from uniclip.io.atomic import append_jsonl, read_jsonl
from uniclip.store import Plan, RunStatus, SweepFolder

BAD_STATUSES = (RunStatus.FAILED, RunStatus.DIVERGED)
IDLE_SECONDS = 300.0
"""Time without a running cell after which the user is told."""
SPENT_SHARE = 0.9
"""Share of `max_gpu_hours` of which the user is told."""
MAX_REASON_LENGTH = 200


@dataclass(kw_only=True)
class SweepNotifications:
    """Decides what is to be sent, from the states of a sweep's runs."""

    folder: SweepFolder
    max_gpu_hours: float | None = None
    gpus_per_run: int = 0
    """GPUs of a run; 0: a CPU worker, which counts as one."""
    _idle_since: float | None = field(default=None, init=False)
    _is_idle_reported: bool = field(default=False, init=False)
    _is_limit_reported: bool = field(default=False, init=False)
    _started_at: float | None = field(default=None, init=False)
    _seconds: dict[tuple[str, int], float] = field(default_factory=dict, init=False)
    """(run, attempt) -> seconds that it has taken since the command began."""

    def collect(
        self, plan: Plan, states: Mapping[str, RunState], now: float, *, is_last: bool = False
    ) -> dict[str, dict[str, Any]]:
        """Return the lines that were not sent yet, each with its record for `mark_sent`.

        Args:
            plan: the plan of the sweep.
            states: run id -> state, of every run of the plan.
            now: seconds since the epoch, as the records of attempts have them.
            is_last: whether nothing of the sweep is left to run.
        """
        self._started_at = now if self._started_at is None else self._started_at
        candidates = {
            **self._list_bad_cells(plan, states),
            **self._describe_idleness(states, now),
            **self._describe_spent_hours(states),
        }
        if is_last:
            counts = Counter(states[cell.run_id].status for cell in plan.cells)
            summary = ", ".join(f"{number} {status}" for status, number in counts.items())
            candidates[f"done ({summary})"] = {"done": summary, "attempts": _count(states)}
        sent_records = read_jsonl(self.folder.notified_path)
        return {
            f"{plan.sweep_id}: {line}": record
            for line, record in candidates.items()
            if not record or record not in sent_records
        }

    def mark_sent(self, lines: Mapping[str, Mapping[str, Any]]) -> None:
        """Record that lines were sent, so that no command sends them again."""
        for line, record in lines.items():
            if record:
                append_jsonl(self.folder.notified_path, record)
            elif "max_gpu_hours" in line:
                self._is_limit_reported = True
            else:
                self._is_idle_reported = True

    def _list_bad_cells(
        self, plan: Plan, states: Mapping[str, RunState]
    ) -> dict[str, dict[str, Any]]:
        lines = {}
        for cell in plan.cells:
            state = states[cell.run_id]
            if state.status in BAD_STATUSES:
                attempt = state.outcome.attempt if state.outcome is not None else state.attempt
                lines[f"{cell.name} {_describe_end(state)}"] = {
                    "cell": cell.name,
                    "run": cell.run_id,
                    "attempt": attempt,
                    "status": str(state.status),
                }
        return lines

    def _describe_idleness(
        self, states: Mapping[str, RunState], now: float
    ) -> dict[str, dict[str, Any]]:
        is_running = any(state.status == RunStatus.RUNNING for state in states.values())
        num_open = sum(state.is_runnable for state in states.values())
        if is_running or not num_open:
            self._idle_since, self._is_idle_reported = None, False
            return {}
        self._idle_since = now if self._idle_since is None else self._idle_since
        idle_seconds = now - self._idle_since
        if idle_seconds < IDLE_SECONDS or self._is_idle_reported:
            return {}
        return {
            f"nothing has run for {idle_seconds / 60:.0f} minutes, and {num_open} runs are open": {}
        }

    def _describe_spent_hours(self, states: Mapping[str, RunState]) -> dict[str, dict[str, Any]]:
        """Return a line if most of the hours are spent, as far as heartbeats say."""
        assert self._started_at is not None
        for run, state in states.items():
            claim, heartbeat = state.claim_record, state.heartbeat
            if claim is not None and heartbeat is not None:
                seconds = heartbeat.time - max(claim.time, self._started_at)
                self._seconds[run, state.attempt] = max(0.0, seconds)
        hours = sum(self._seconds.values()) * max(self.gpus_per_run, 1) / 3600
        limit = self.max_gpu_hours
        if limit is None or self._is_limit_reported or hours < SPENT_SHARE * limit:
            return {}
        return {f"{hours:.3g} of max_gpu_hours={limit:g} are spent": {}}


def _count(states: Mapping[str, RunState]) -> int:
    """Return the number of attempts of all runs: it grows whenever something is run."""
    return sum(
        state.outcome.attempt if state.outcome is not None else state.attempt
        for state in states.values()
    )


def _describe_end(state: RunState) -> str:
    """Return how a run ended that failed or diverged."""
    if state.outcome is not None:
        return f"{state.status} at step {state.outcome.step}"
    reason = state.reason[:MAX_REASON_LENGTH]
    return f"{state.status}: {reason}" if reason else str(state.status)
