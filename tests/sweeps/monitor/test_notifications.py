"""What is told of a sweep, decided from tables of states."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from sweeps.claims.status import RunState
from sweeps.monitor.notifications import IDLE_SECONDS, SweepNotifications
from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.store import ClaimRecord, Heartbeat, RunStatus, Store, SweepFolder

PLAN = fake_sweep.plan(Truth(seeds=(0,)))
FULL = fake_sweep.run_id("full", 0)
SWEEP = PLAN.sweep_id


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return Store(tmp_path).get_sweep(SWEEP)


def states(default: RunStatus, **full: object) -> dict[str, RunState]:
    """Return the same status for every run, and another state for that of full/0."""
    result = {cell.run_id: RunState(status=default, attempt=1) for cell in PLAN.cells}
    return {**result, FULL: RunState(**{"status": default, "attempt": 1, **full})}


def lines(notifications: SweepNotifications, table: Mapping[str, RunState], **kwargs: bool):
    """Return the lines of a look, and mark them as sent."""
    news = notifications.collect(PLAN, table, kwargs.pop("now", 0.0), **kwargs)
    notifications.mark_sent(news)
    return list(news)


def test_each_failure_is_told_once_by_whichever_command(folder: SweepFolder) -> None:
    failed = states(RunStatus.RUNNING, status=RunStatus.FAILED, reason="OSError: <x>")
    first, second = SweepNotifications(folder=folder), SweepNotifications(folder=folder)
    assert lines(first, states(RunStatus.RUNNING)) == []
    assert lines(first, failed) == [f"{SWEEP}: full/0 failed: OSError: <x>"]
    assert lines(first, failed) == lines(second, failed) == []
    again = states(RunStatus.RUNNING, status=RunStatus.FAILED, attempt=2, reason="")
    assert lines(second, again) == [f"{SWEEP}: full/0 failed"]
    diverged = states(RunStatus.RUNNING, status=RunStatus.DIVERGED, attempt=3)
    assert lines(second, diverged) == [f"{SWEEP}: full/0 diverged"]


def test_what_was_not_sent_is_told_again(folder: SweepFolder) -> None:
    failed = states(RunStatus.RUNNING, status=RunStatus.FAILED)
    notifications = SweepNotifications(folder=folder)
    assert notifications.collect(PLAN, failed, 0.0) == notifications.collect(PLAN, failed, 60.0)
    assert len(notifications.collect(PLAN, failed, 120.0)) == 1


def test_the_end_is_told_once_until_something_is_run_again(folder: SweepFolder) -> None:
    complete = states(RunStatus.COMPLETE)
    number = len(PLAN.cells)
    text = f"{SWEEP}: done ({number} complete)"
    for expected in ([text], []):
        assert lines(SweepNotifications(folder=folder), complete, is_last=True) == expected
    retried = states(RunStatus.COMPLETE, attempt=2)
    assert lines(SweepNotifications(folder=folder), retried, is_last=True) == [text]


def test_a_standstill_is_told_once_until_something_runs(folder: SweepFolder) -> None:
    notifications = SweepNotifications(folder=folder)
    pending, running = states(RunStatus.PENDING), states(RunStatus.PENDING, status="running")
    now = time.time()
    assert lines(notifications, pending, now=now) == []
    (line,) = lines(notifications, pending, now=now + IDLE_SECONDS)
    assert line == f"{SWEEP}: nothing has run for 5 minutes, and {len(PLAN.cells)} runs are open"
    assert lines(notifications, pending, now=now + 2 * IDLE_SECONDS) == []
    assert lines(notifications, running, now=now + 2 * IDLE_SECONDS) == []
    assert lines(notifications, pending, now=now + 3 * IDLE_SECONDS) == []
    assert len(lines(notifications, pending, now=now + 4 * IDLE_SECONDS)) == 1


def test_spent_hours_are_counted_from_the_start_of_the_command(folder: SweepFolder) -> None:
    """One run of two GPUs that began an hour before the command."""
    notifications = SweepNotifications(folder=folder, max_gpu_hours=10, gpus_per_run=2)
    claim = ClaimRecord(
        host="h", boot_id="b", pid=1, start_ticks=1, source_hash="s", training_hash="t",
        numerics_class={}, time=1000.0,
    )  # fmt: skip

    def running(hours: float) -> dict[str, RunState]:
        heartbeat = Heartbeat(
            time=4600.0 + 3600 * hours, step=1, total_steps=2, steps_per_second=1, phase="training"
        )
        return states(
            RunStatus.PENDING, status=RunStatus.RUNNING, claim_record=claim, heartbeat=heartbeat
        )

    assert lines(notifications, running(0), now=4600.0) == []
    assert lines(notifications, running(4.4), now=4600.0) == []
    assert lines(notifications, running(4.5)) == [f"{SWEEP}: 9 of max_gpu_hours=10 are spent"]
    assert lines(notifications, running(4.9)) == []
