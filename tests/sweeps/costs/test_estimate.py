"""Estimated costs: from past runs, else from probes, else none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from analysis.collect.run_time import format_duration, measure_run_time
from sweeps.claims import process
from sweeps.claims.status import RunState
from sweeps.costs import estimate
from sweeps.costs.estimate import CostEstimate
from uniclip.io import atomic
from uniclip.store import Arm, Cell, Outcome, Plan, PrimaryMetric, RunFolder, Store, json_io

ARMS = ("full", "none")
PROBE = {"arm": "full", "device": "cpu", "setup_and_eval_seconds": 0.0}


@pytest.fixture
def plan() -> Plan:
    arms = (
        Arm(name="full", label="", role="crossed", levels={}, config_diff={}),
        Arm(name="none", label="", role="crossed", levels={}, config_diff={"train.steps": 50}),
    )
    cells = tuple(
        Cell(arm=a, seed=s, run_id=f"{a}{s}".ljust(16, "0")) for s in range(3) for a in ARMS
    )
    return Plan(
        sweep_id="s", ablation="a", title="t", budget="quick", data="scenes", design="crossed",
        arms=arms, reference="full", components=(), contrasts=(),
        primary_metric=PrimaryMetric(dataset="scenes", metric="x"), seeds=(0, 1, 2), cells=cells,
        evaluation_hashes={n: {} for n in ARMS}, missing_datasets={},
        base_config={"train": {"steps": 100}, "runtime": {"device": "cpu"}},
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def add_attempt(
    run: RunFolder,
    seconds: float,
    kind: str | None,
    spent: float = 0.0,
    device: str = "cpu",
    world_size: int | None = None,
) -> None:
    """Add an attempt; without `kind` its process died after the last heartbeat.

    seconds: wall seconds. spent: seconds of training in it.
    """
    number = len(run.list_attempts()) + 1
    attempt = run.claim_attempt(
        number, dataclasses.replace(process.make_claim_record({}), time=1000.0)
    )
    assert attempt is not None
    last: dict[str, Any] = {"time": 1000.0 + seconds}
    if kind is None:
        heartbeat = {
            **last,
            "step": 1,
            "total_steps": 2,
            "steps_per_second": 1.0,
            "phase": "training",
        }
        atomic.atomic_write(attempt.path / "heartbeat", json_io.to_json_bytes(heartbeat))
    else:
        atomic.write_once(attempt.path / "end.json", json_io.to_json_bytes({"kind": kind, **last}))
    atomic.append_jsonl(
        attempt.metrics_path, {"phase": "train", "step": 1, "attempt_seconds": spent}
    )
    if kind == "trained":
        run.write_outcome(outcome(number, device, world_size))


def outcome(attempt: int, device: str, world_size: int | None = None) -> Outcome:
    """100 steps of 0.3 s."""
    processes = {} if world_size is None else {"world_size": world_size}
    cost = {"seconds_per_step": 0.3, "parameters": 1e6, "checkpoint_bytes": 5e6}
    return Outcome(
        kind="trained", step=100, attempt=attempt, training_hash="t", source_hash="s",
        numerics_class={"device": device, **processes}, weights_digest="w", best_step=None,
        cost=cost,
    )  # fmt: skip


def make_estimate(seconds: float, source: str = "probe") -> CostEstimate:
    return CostEstimate(seconds=seconds, low=seconds * 0.5, high=seconds * 2, source=source)


def states(plan: Plan, kind: Any = "pending") -> dict[str, RunState]:
    return {c.run_id: RunState(status=kind) for c in plan.cells}


def test_no_estimate_without_measurements(store: Store, plan: Plan) -> None:
    assert estimate.estimate_costs(store, plan) == {}
    assert (
        estimate.describe_total_cost(plan.cells, states(plan), {}, 2) == "not measured for 2 arms"
    )


def test_run_time_covers_all_attempts_and_the_wasted_time(store: Store) -> None:
    """Of 30 s of training 22 s were done by attempts that did not finish, in 42 s."""
    run = store.get_run("r")
    add_attempt(run, 30, None, spent=25)
    unfinished = measure_run_time(run, run.read_outcome())
    assert unfinished is not None
    assert unfinished.wall_seconds == unfinished.wasted_seconds == pytest.approx(30), (
        "there is no result yet"
    )
    add_attempt(run, 12, "interrupted", spent=10)
    add_attempt(run, 9, "trained", spent=8)
    add_attempt(run, 5, "evaluated")
    run_time = measure_run_time(run, run.read_outcome())
    assert run_time is not None
    assert (run_time.wall_seconds, run_time.num_attempts) == (pytest.approx(56), 4)
    assert run_time.wasted_seconds == pytest.approx(42 - 22)
    assert run_time.productive_seconds == pytest.approx(36)
    assert run_time.end_reason_counts == {"interrupted": 2}


def test_uninterrupted_run_wastes_no_time(store: Store) -> None:
    run = store.get_run("r")
    add_attempt(run, 40, "trained", spent=30)
    run_time = measure_run_time(run, run.read_outcome())
    assert run_time is not None
    assert (run_time.wasted_seconds, run_time.end_reason_counts) == (0, {})


def test_past_runs_come_before_probes(store: Store, plan: Plan) -> None:
    for arm in ARMS:
        probe = {**PROBE, "arm": arm, "seconds_per_step": 0.5, "setup_and_eval_seconds": 4.0}
        atomic.append_jsonl(store.get_sweep("s").probes_path, probe)
    for cell, seconds in zip([c for c in plan.cells if c.arm == "full"], (10.0, 20.0, 90.0)):
        add_attempt(store.get_run(cell.run_id), seconds, "trained")
    full, none = estimate.estimate_costs(store, plan).values()
    assert (full.low, full.seconds, full.high) == (10, 20, 90), "the median, and the spread"
    assert (full.source, full.checkpoint_bytes, full.stored_bytes) == ("past runs", 5e6, 8e6)
    assert none.seconds == 29, "the arm's own number of steps"
    assert (none.low, none.high, none.source) == (29 * 0.75, 29 * 1.25, "probe")
    without_past_runs = estimate.estimate_costs(store, plan, exclude=[c.run_id for c in plan.cells])
    assert without_past_runs["full"].source == "probe", "a run does not predict itself"


def test_few_runs_have_the_assumed_uncertainty(store: Store, plan: Plan) -> None:
    add_attempt(store.get_run(plan.cells[0].run_id), 20, "trained")
    full = estimate.estimate_costs(store, plan)["full"]
    assert (full.low, full.seconds, full.high) == (15, 20, 25)


def test_preempted_run_predicts_an_uninterrupted_one(store: Store, plan: Plan) -> None:
    run = store.get_run(plan.cells[0].run_id)
    add_attempt(run, 50, "interrupted", spent=22)
    add_attempt(run, 10, "trained", spent=8)
    assert estimate.estimate_costs(store, plan)["full"].seconds == pytest.approx(32)


def test_range_of_step_times_widens_the_estimate(store: Store, plan: Plan) -> None:
    probe = {**PROBE, "seconds_per_step": 1.0}
    atomic.append_jsonl(
        store.get_sweep("s").probes_path, {**probe, "step_seconds_range": [0.5, 3.0]}
    )
    full = estimate.estimate_costs(store, plan)["full"]
    assert (full.low, full.seconds, full.high) == (50, 100, 300)


def test_arms_that_differ_in_the_stream_share_an_estimate(store: Store, plan: Plan) -> None:
    again = Arm(name="again", label="", role="noise", levels={}, config_diff={"stream": 1})
    cell = Cell(arm="again", seed=0, run_id="a" * 16)
    plan_of_both = dataclasses.replace(plan, arms=(*plan.arms, again), cells=(*plan.cells, cell))
    add_attempt(store.get_run(cell.run_id), 20, "trained")
    estimates = estimate.estimate_costs(store, plan_of_both)
    assert estimates["full"] == estimates["again"]
    assert "none" not in estimates


def test_newest_probe_is_used(store: Store, plan: Plan) -> None:
    for seconds in (9.0, 1.0):
        probe = {**PROBE, "seconds_per_step": seconds}
        atomic.append_jsonl(store.get_sweep("s").probes_path, probe)
    assert estimate.estimate_costs(store, plan)["full"].seconds == 100


def test_measurements_on_other_device_types_are_ignored(store: Store, plan: Plan) -> None:
    on_gpu = dataclasses.replace(
        plan, base_config={**plan.base_config, "runtime": {"device": "cuda:1"}}
    )
    add_attempt(store.get_run(plan.cells[0].run_id), 20, "trained")
    for device_fields in ({}, {"device": "cpu"}):
        probe = {
            "arm": "full",
            "seconds_per_step": 9.0,
            "setup_and_eval_seconds": 0.0,
            **device_fields,
        }
        atomic.append_jsonl(store.get_sweep("s").probes_path, probe)
    assert estimate.estimate_costs(store, on_gpu) == {}
    assert estimate.estimate_costs(store, plan)["full"].seconds == 20
    atomic.append_jsonl(
        store.get_sweep("s").probes_path, {**PROBE, "device": "cuda", "seconds_per_step": 1.0}
    )
    assert estimate.estimate_costs(store, on_gpu)["full"].seconds == 100
    add_attempt(store.get_run(plan.cells[2].run_id), 30, "trained", device="cuda")
    assert estimate.estimate_costs(store, on_gpu)["full"].seconds == 30
    assert estimate.estimate_costs(store, plan)["full"].seconds == 20


def test_measurements_of_another_number_of_processes_are_ignored(store: Store, plan: Plan) -> None:
    def find_seconds(world_size: int | None) -> float | None:
        estimates = estimate.estimate_costs(store, plan, world_size=world_size)
        return estimates["full"].seconds if "full" in estimates else None

    probes_path = store.get_sweep("s").probes_path
    atomic.append_jsonl(probes_path, {**PROBE, "seconds_per_step": 4.0, "world_size": 1})
    assert (find_seconds(1), find_seconds(8), find_seconds(None)) == (400, None, 400)
    atomic.append_jsonl(probes_path, {**PROBE, "seconds_per_step": 1.0, "world_size": 8})
    assert (find_seconds(1), find_seconds(8)) == (400, 100)
    add_attempt(store.get_run(plan.cells[0].run_id), 300, "trained", world_size=1)
    assert (find_seconds(1), find_seconds(8)) == (300, 100)
    add_attempt(store.get_run(plan.cells[2].run_id), 90, "trained", world_size=8)
    assert (find_seconds(1), find_seconds(8)) == (300, 90)
    add_attempt(store.get_run(plan.cells[4].run_id), 200, "trained")  # it says no number
    assert (find_seconds(1), find_seconds(8)) == (250, 145)


def test_total_adds_open_runs_and_divides_by_workers(plan: Plan) -> None:
    estimates = {"full": make_estimate(100), "none": make_estimate(20)}
    text = estimate.describe_total_cost(plan.cells, states(plan), estimates, 2)
    assert text == "6 runs in about 3 min (2 min to 6 min) on 2 workers (from probe)"
    text = estimate.describe_total_cost(plan.cells, states(plan), estimates, 2, gpus_per_run=4)
    assert "on 2 workers, 0.4 GPU-hours (from probe)" in text
    assert estimate.describe_total_cost(plan.cells, [], estimates, 2) == "nothing to run"
    one = [plan.cells[0].run_id]
    assert estimate.describe_total_cost(plan.cells, one, estimates, 2).startswith(
        "1 runs in about 2 min"
    )


def test_unmeasured_arms_are_counted(plan: Plan) -> None:
    estimates = {"full": make_estimate(100, "past runs")}
    text = estimate.describe_total_cost(plan.cells, states(plan), estimates, 1)
    assert text == "not measured for 1 arms; the rest 5 min"
    assert estimate.format_cost_columns(None, 1)[0] == "not measured"
    assert estimate.format_cost_columns(estimates["full"], 0) == (
        "2 min (50 s to 3 min)",
        "",
        "",
        "",
    )
    assert estimate.format_cost_columns(estimates["full"], 9)[1] == "0.25"


def test_first_estimate_of_a_run_is_kept(store: Store, plan: Plan) -> None:
    runs = [c.run_id for c in plan.cells]
    estimate.record_estimates(
        store.get_sweep("s"), plan.cells, runs[:2], {"full": make_estimate(10)}, 2
    )
    estimate.record_estimates(
        store.get_sweep("s"), plan.cells, runs, {a: make_estimate(99) for a in ARMS}, 2
    )
    recorded = {
        p["run"]: p["seconds"] for p in atomic.read_jsonl(store.get_sweep("s").cost_estimates_path)
    }
    assert recorded == {runs[0]: 10, **dict.fromkeys(runs[1:], 99)}


def test_run_of_two_arms_counts_once(plan: Plan) -> None:
    shared = dataclasses.replace(
        plan, cells=tuple(dataclasses.replace(c, run_id="r" * 16) for c in plan.cells)
    )
    estimates = {a: make_estimate(30) for a in ARMS}
    text = estimate.describe_total_cost(shared.cells, ["r" * 16], estimates, 1)
    assert text.startswith("1 runs in about 30 s")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (600, "10 min"), (5400, "1.5 h"), (86400, "24.0 h")],
)
def test_durations_are_formatted(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("device", "expected"), [("cpu", 1_000.0), ("cuda", 700.0)])
def test_memory_of_a_run_on_cpus_holds_the_copy_of_a_checkpoint(
    device: str, expected: float
) -> None:
    """Which a probe does not write."""
    probe = {
        **PROBE,
        "device": device,
        "seconds_per_step": 1.0,
        "peak_memory_bytes": 700.0,
        "checkpoint_bytes": 300.0,
    }
    assert estimate._estimate_from_probe(probe, 10).memory_bytes == expected
