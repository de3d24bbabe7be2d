"""What is told of a sweep, decided from tables of states."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.claims.status import RunState
from sweeps.monitor.notifications import IDLE_SECONDS, SweepNotifications, SweepStates
from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.store import (
    ClaimRecord,
    Heartbeat,
    Plan,
    RunStatus,
    Store,
    Trial,
    TunedArm,
    Tuning,
)

PLAN = fake_sweep.plan(Truth(seeds=(0,)))
FULL = fake_sweep.run_id("full", 0)
SWEEP = PLAN.sweep_id
ROUND_PLAN = replace(PLAN, sweep_id=f"{SWEEP}/tuning/optimizer-1a2b3c4d/0-0")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def states(default: RunStatus, **full: object) -> dict[str, RunState]:
    """Return the same status for every run, and another state for that of full/0."""
    result = {cell.run_id: RunState(status=default, attempt=1) for cell in PLAN.cells}
    return {**result, FULL: RunState(**{"status": default, "attempt": 1, **full})}


def lines(
    notifications: SweepNotifications,
    table: Mapping[str, RunState],
    *,
    plan: Plan = PLAN,
    earlier: Sequence[SweepStates] = (),
    now: float = 0.0,
    is_last: bool = False,
) -> list[str]:
    """Return the lines of a look, and mark them as sent."""
    sweeps = [*earlier, SweepStates(plan=plan, states=table)]
    news = notifications.collect(sweeps, now, is_last=is_last)
    notifications.mark_sent(news)
    return [notification.line for notification in news]


def test_each_failure_is_told_once_by_whichever_command(store: Store) -> None:
    failed = states(RunStatus.RUNNING, status=RunStatus.FAILED, reason="OSError: <x>")
    first, second = SweepNotifications(store=store), SweepNotifications(store=store)
    assert lines(first, states(RunStatus.RUNNING)) == []
    assert lines(first, failed) == [f"{SWEEP}: full/0 failed: OSError: <x>"]
    assert lines(first, failed) == lines(second, failed) == []
    again = states(RunStatus.RUNNING, status=RunStatus.FAILED, attempt=2, reason="")
    assert lines(second, again) == [f"{SWEEP}: full/0 failed"]
    diverged = states(RunStatus.RUNNING, status=RunStatus.DIVERGED, attempt=3)
    assert lines(second, diverged) == [f"{SWEEP}: full/0 diverged"]


def test_what_was_not_sent_is_told_again(store: Store) -> None:
    failed = states(RunStatus.RUNNING, status=RunStatus.FAILED)
    notifications = SweepNotifications(store=store)
    sweeps = [SweepStates(plan=PLAN, states=failed)]
    assert notifications.collect(sweeps, 0.0) == notifications.collect(sweeps, 60.0)
    assert len(notifications.collect(sweeps, 120.0)) == 1


def test_the_end_is_told_once_until_something_is_run_again(store: Store) -> None:
    complete = states(RunStatus.COMPLETE)
    number = len(PLAN.cells)
    text = f"{SWEEP}: done ({number} complete)"
    for expected in ([text], []):
        assert lines(SweepNotifications(store=store), complete, is_last=True) == expected
    retried = states(RunStatus.COMPLETE, attempt=2)
    assert lines(SweepNotifications(store=store), retried, is_last=True) == [text]


def test_a_standstill_is_told_once_until_something_runs(store: Store) -> None:
    notifications = SweepNotifications(store=store)
    pending, running = states(RunStatus.PENDING), states(RunStatus.PENDING, status="running")
    now = time.time()
    assert lines(notifications, pending, now=now) == []
    (line,) = lines(notifications, pending, now=now + IDLE_SECONDS)
    assert line == f"{SWEEP}: nothing has run for 5 minutes, and {len(PLAN.cells)} runs are open"
    assert lines(notifications, pending, now=now + 2 * IDLE_SECONDS) == []
    assert lines(notifications, running, now=now + 2 * IDLE_SECONDS) == []
    assert lines(notifications, pending, now=now + 3 * IDLE_SECONDS) == []
    assert len(lines(notifications, pending, now=now + 4 * IDLE_SECONDS)) == 1


def test_spent_hours_are_counted_from_the_start_of_the_command(store: Store) -> None:
    """One run of two GPUs that began an hour before the command."""
    notifications = SweepNotifications(store=store, max_gpu_hours=10, gpus_per_run=2)
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


def test_of_trials_only_failures_are_told(store: Store) -> None:
    notifications = SweepNotifications(store=store)
    diverged = states(RunStatus.COMPLETE, status=RunStatus.DIVERGED)
    failed = states(RunStatus.PAUSED, status=RunStatus.FAILED, reason="OSError: full")
    assert lines(notifications, diverged, plan=ROUND_PLAN) == []
    told = [f"{ROUND_PLAN.sweep_id}: full/0 failed: OSError: full"]
    assert lines(notifications, failed, plan=ROUND_PLAN) == told
    assert lines(notifications, failed, plan=ROUND_PLAN) == []


def test_the_end_of_a_tuning_is_told_before_the_tuned_arms_are_run(store: Store) -> None:
    """Its trials are counted; who runs the tuned arms again is told of them only."""
    trial = Trial(number=0, params={}, rung_scores={"0": 0.5}, steps=9, completed=True)
    arms = tuple(
        TunedArm(
            arm=name, best_trial=trial, default_score=0.4, n_trials=20, n_pruned=n_pruned,
            n_diverged=3, steps=180, at_boundary={},
        )
        for name, n_pruned in (("full", 4), ("clip", 0))
    )  # fmt: skip
    tuning = Tuning(
        default_sweep=SWEEP, space="optimizer", pruner="median", n_trials=20, seeds=(1000,),
        arms=arms, study="optimizer-1a2b3c4d",
    )  # fmt: skip
    tuned_plan = replace(PLAN, sweep_id="components-quick-tuned-1a2b3c4d", tuning=tuning)
    trials = SweepStates(plan=ROUND_PLAN, states=states(RunStatus.COMPLETE))
    pending = states(RunStatus.PENDING)
    notifications = SweepNotifications(store=store)
    assert lines(notifications, pending, plan=tuned_plan) == []
    text = "tuning done (40 trials, 4 stopped early, 6 runs diverged); the tuned arms are next"
    for expected in ([f"{tuned_plan.sweep_id}: {text}"], []):
        assert lines(notifications, pending, plan=tuned_plan, earlier=[trials]) == expected


def test_hours_and_standstill_are_those_of_all_sweeps_of_a_command(store: Store) -> None:
    """A trial that runs is no standstill; the hours of trials remain when the next sweep begins."""
    notifications = SweepNotifications(store=store, max_gpu_hours=1)
    claim = ClaimRecord(
        host="h", boot_id="b", pid=1, start_ticks=1, source_hash="s", training_hash="t",
        numerics_class={}, time=0.0,
    )  # fmt: skip
    heartbeat = Heartbeat(time=3300.0, step=1, total_steps=2, steps_per_second=1, phase="training")
    running = states(
        RunStatus.COMPLETE, status=RunStatus.RUNNING, claim_record=claim, heartbeat=heartbeat
    )
    trials = SweepStates(plan=ROUND_PLAN, states=running)
    pending = {f"{run}-tuned": state for run, state in states(RunStatus.PENDING).items()}
    tuned_plan = replace(
        PLAN, cells=tuple(replace(c, run_id=f"{c.run_id}-tuned") for c in PLAN.cells)
    )
    assert lines(notifications, states(RunStatus.COMPLETE)) == []
    told = lines(notifications, pending, plan=tuned_plan, earlier=[trials], now=2 * IDLE_SECONDS)
    assert told == [f"{SWEEP}: 0.917 of max_gpu_hours=1 are spent"]
    assert lines(notifications, pending, plan=tuned_plan, now=3 * IDLE_SECONDS) == []
    told = lines(notifications, pending, plan=tuned_plan, now=4 * IDLE_SECONDS)
    assert [line.partition(": ")[2][:33] for line in told] == ["nothing has run for 5 minutes, an"]
