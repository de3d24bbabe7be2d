"""Progress of a sweep: the fraction that is done, and the time that remains."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.claims.status import RunState
from sweeps.costs.estimate import CostEstimate
from sweeps.monitor.progress import ProgressMeter, SweepProgress, estimate_remaining_seconds
from sweeps.monitor.status import CellRow
from tests.sweeps.monitor import RUNS, make_heartbeat, make_plan
from uniclip.io.atomic import append_jsonl
from uniclip.store import RunStatus, Store


def make_rows(*states: tuple[str, RunState]) -> list[CellRow]:
    return [CellRow(cell=f"{arm}/0", run=f"{i}", state=s) for i, (arm, s) in enumerate(states)]


PENDING, COMPLETE = RunState(status=RunStatus.PENDING), RunState(status=RunStatus.COMPLETE)
RUNNING = RunState(status=RunStatus.RUNNING, heartbeat=make_heartbeat())
"""60 of 90 steps remain, at 2 steps a second."""
STARTING = RunState(status=RunStatus.RUNNING)


def make_cost(seconds: float, source: str = "past runs", **more: float) -> CostEstimate:
    return CostEstimate(seconds=seconds, low=seconds, high=seconds, source=source, **more)


@pytest.mark.parametrize(
    ("rows", "costs", "num_workers", "seconds"),
    [
        (make_rows(("a", PENDING)), {}, 2, None),
        (make_rows(("a", STARTING), ("a", PENDING)), {}, 1, None),
        (make_rows(("a", COMPLETE)), {}, 2, 0.0),
        (make_rows(("a", RUNNING)), {}, 1, 30.0),
        # the speed of the running cell of the arm is used, and not the probe
        (make_rows(("a", RUNNING), ("a", PENDING)), {"a": make_cost(9, "probe")}, 1, 30.0 + 45.0),
        (make_rows(("a", RUNNING), ("a", PENDING)), {"a": make_cost(60)}, 1, 30.0 + 60.0),
        (make_rows(("a", PENDING)), {"a": make_cost(70, "probe")}, 1, 70.0),
        # an arm that was not measured takes the mean of the others
        (make_rows(("a", PENDING), ("b", PENDING)), {"a": make_cost(20)}, 1, 40.0),
        # three runs of 20 s on two workers
        (make_rows(*[("a", PENDING)] * 3), {"a": make_cost(20)}, 2, 40.0),
        # the evaluation: 50 s a run, of which 90 steps of 0.5 s are training
        (make_rows(("a", RUNNING)), {"a": make_cost(50, step_seconds=0.5)}, 1, 35.0),
    ],
)
def test_remaining_time_is_that_of_the_last_worker(
    rows: list[CellRow], costs: dict[str, CostEstimate], num_workers: int, seconds: float | None
) -> None:
    remaining_seconds = estimate_remaining_seconds(rows, costs, num_workers)
    assert remaining_seconds == (None if seconds is None else pytest.approx(seconds))


def test_a_failed_cell_is_done_and_a_running_one_in_part() -> None:
    failed = RunState(status=RunStatus.FAILED, heartbeat=make_heartbeat())
    rows = make_rows(("a", failed), ("a", RUNNING), ("a", PENDING))
    progress = ProgressMeter(started_at=None).measure(make_plan(), rows)
    assert (progress.num_ended, progress.num_cells) == (1, 3)
    assert progress.done_fraction == pytest.approx((1 + 1 / 3) / 3)
    assert progress.elapsed_seconds is None


def test_a_command_that_runs_nothing_promises_no_time() -> None:
    meter = ProgressMeter(started_at=None)
    idle_rows = make_rows(("full", PENDING))
    assert meter.measure(make_plan(), idle_rows).times_text == ""
    assert meter.measure(make_plan(), make_rows(("full", RUNNING))).times_text == "about 30 s left"


def test_the_times_of_a_sweep() -> None:
    progress = SweepProgress(
        num_cells=2, num_ended=1, done_fraction=0.5, elapsed_seconds=300, remaining_seconds=40
    )
    assert progress.times_text == "5 min elapsed, about 40 s left"


def test_probes_of_the_store_are_used_before_any_run_has_finished(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), make_plan()
    probe = {
        "device": "cpu",
        "seconds_per_step": 1.0,
        "setup_and_eval_seconds": 6.0,
    }
    for arm in RUNS:
        append_jsonl(store.get_sweep(plan.sweep_id).probes_path, {"arm": arm, **probe})
    rows = [CellRow(cell=c.name, run=c.run_id, state=PENDING) for c in plan.cells]
    progress = ProgressMeter(store=store, num_workers=1).measure(plan, rows)
    # two runs, as full and twin share one, of 9 steps and 6 s
    assert progress.remaining_seconds == pytest.approx(30.0)
