"""Progress of a sweep as a whole: the fraction that is done, and the time that remains.

The time is estimated from what was measured: finished runs of the same cost, else the speed of a
running cell of the same arm, else the probe of the arm, else the other arms. Without any of these
it is not known.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean

from analysis.collect.run_time import format_duration
from sweeps.claims.status import TERMINAL_UNFINISHED
from sweeps.costs.estimate import CostEstimate, estimate_costs
from sweeps.monitor.status import FINAL_STATUSES, CellRow
from uniclip.store import Plan, RunStatus, Store

ENDED_STATUSES = (*FINAL_STATUSES, *TERMINAL_UNFINISHED)
"""Statuses of cells on which nothing more is done."""
OPEN_STATUSES = (RunStatus.PENDING, RunStatus.INTERRUPTED, RunStatus.NEEDS_EVALUATION)
"""Statuses of cells that a worker will take."""


@dataclass(frozen=True, kw_only=True)
class SweepProgress:
    """How far a sweep is."""

    num_cells: int
    num_ended: int
    done_fraction: float
    """Ended cells and the trained part of running ones, over all cells; 1 for no cells."""
    elapsed_seconds: float | None = None
    """Wall seconds since the command was started; None if nothing is executed by it."""
    remaining_seconds: float | None = None
    """Estimated wall seconds; None if nothing was measured."""

    @property
    def times_text(self) -> str:
        """Elapsed and remaining time, as far as they are known."""
        parts = []
        if self.elapsed_seconds is not None:
            parts.append(f"{format_duration(self.elapsed_seconds)} elapsed")
        if self.remaining_seconds is not None and self.num_ended < self.num_cells:
            parts.append(f"about {format_duration(self.remaining_seconds)} left")
        return ", ".join(parts)


@dataclass(kw_only=True)
class ProgressMeter:
    """Measures the progress of one sweep; costs are read again when another run has finished."""

    store: Store | None = None
    """Where measured costs are read; None for none."""
    num_workers: int = 1
    """Runs that are executed in parallel."""
    started_at: float | None = field(default_factory=time.monotonic)
    """When the command was started (`time.monotonic`); None for a command that runs nothing."""
    _cost_estimates: Mapping[str, CostEstimate] = field(default_factory=dict, init=False)
    _costs_key: tuple[object, ...] = field(default=(), init=False)

    def measure(self, plan: Plan, rows: Sequence[CellRow]) -> SweepProgress:
        """Return the progress; cells that share a run count each, their run's time once."""
        num_ended = sum(row.state.status in ENDED_STATUSES for row in rows)
        done = num_ended + sum(compute_trained_fraction(row) for row in rows)
        self._update_costs(plan, rows)
        rows_by_run = {row.run: row for row in reversed(rows)}
        now = time.monotonic()
        is_executed = self.started_at is not None or any(
            row.state.status == RunStatus.RUNNING for row in rows
        )
        return SweepProgress(
            num_cells=len(rows),
            num_ended=num_ended,
            done_fraction=done / len(rows) if rows else 1.0,
            elapsed_seconds=None if self.started_at is None else now - self.started_at,
            remaining_seconds=estimate_remaining_seconds(
                rows_by_run.values(), self._cost_estimates, self.num_workers
            )
            if is_executed
            else None,
        )

    def _update_costs(self, plan: Plan, rows: Iterable[CellRow]) -> None:
        finished_runs = {row.run for row in rows if row.state.status in FINAL_STATUSES}
        costs_key = (plan.sweep_id, len(plan.cells), *sorted(finished_runs))
        if self.store is not None and costs_key != self._costs_key:
            self._costs_key = costs_key
            self._cost_estimates = estimate_costs(self.store, plan)


def compute_trained_fraction(row: CellRow) -> float:
    """Return the trained part of a cell that has not ended, from its last heartbeat; else 0."""
    heartbeat = row.state.heartbeat
    if row.state.status in ENDED_STATUSES or heartbeat is None or not heartbeat.total_steps:
        return 0.0
    return min(1.0, heartbeat.step / heartbeat.total_steps)


def estimate_remaining_seconds(
    rows: Iterable[CellRow], cost_estimates: Mapping[str, CostEstimate], num_workers: int
) -> float | None:
    """Return the wall seconds until the last open or running run ends; None if not known.

    Open runs are given in order to the worker that is free first.

    Args:
        rows: one cell of each run.
        cost_estimates: arm -> measured cost of one of its runs.
        num_workers: runs that are executed in parallel.
    """
    rows = list(rows)
    running_rows = [row for row in rows if row.state.status == RunStatus.RUNNING]
    open_rows = [row for row in rows if row.state.status in OPEN_STATUSES]
    run_seconds = _measure_run_seconds(running_rows, cost_estimates)
    if not run_seconds and (running_rows or open_rows):
        return None
    worker_seconds = [
        _compute_seconds_left(row, cost_estimates.get(_get_arm(row)), run_seconds)
        for row in running_rows
    ]
    worker_seconds += [0.0] * (num_workers - len(worker_seconds))
    heapq.heapify(worker_seconds)
    for row in open_rows:
        seconds = _get_run_seconds(row, run_seconds) * (1 - compute_trained_fraction(row))
        heapq.heappush(worker_seconds, heapq.heappop(worker_seconds) + seconds)
    return max(worker_seconds, default=0.0)


def _measure_run_seconds(
    running_rows: Iterable[CellRow], cost_estimates: Mapping[str, CostEstimate]
) -> dict[str, float]:
    """Return arm -> seconds of a run; a probe counts only for arms that are not measured."""
    seconds = {arm: e.seconds for arm, e in cost_estimates.items()}
    for row in running_rows:
        arm, heartbeat = _get_arm(row), row.state.heartbeat
        cost_estimate = cost_estimates.get(arm)
        is_measured = cost_estimate is not None and cost_estimate.source != "probe"
        if heartbeat is not None and row.seconds_left is not None and not is_measured:
            seconds[arm] = heartbeat.total_steps / heartbeat.steps_per_second
    return seconds


def _compute_seconds_left(
    row: CellRow, cost_estimate: CostEstimate | None, run_seconds: Mapping[str, float]
) -> float:
    """Return the seconds until a running cell ends, its evaluation included if it is measured."""
    if row.seconds_left is None or row.state.heartbeat is None:
        return _get_run_seconds(row, run_seconds) * (1 - compute_trained_fraction(row))
    other_seconds = 0.0
    if cost_estimate is not None and cost_estimate.step_seconds is not None:
        training_seconds = cost_estimate.step_seconds * row.state.heartbeat.total_steps
        other_seconds = max(0.0, cost_estimate.seconds - training_seconds)
    return row.seconds_left + other_seconds


def _get_run_seconds(row: CellRow, run_seconds: Mapping[str, float]) -> float:
    return run_seconds.get(_get_arm(row), mean(run_seconds.values()))


def _get_arm(row: CellRow) -> str:
    return row.cell.rpartition("/")[0]
