"""Prices: from past runs, else probes, else nothing is claimed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from analysis.collect.run_time import format_duration as price_in_words
from analysis.collect.run_time import measure_run_time
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


def took(
    run: RunFolder, seconds: float, kind: str | None, spent: float = 0.0, device: str = "cpu"
) -> None:
    """One more attempt that took so long; without `kind` it died after its last heartbeat.

    spent: seconds of training in it.
    """
    number = len(run.list_attempts()) + 1
    attempt = run.claim_attempt(
        number, dataclasses.replace(process.make_claim_record({}), time=1000.0)
    )
    assert attempt is not None
    last: dict[str, Any] = {"time": 1000.0 + seconds}
    if kind is None:
        beat = {**last, "step": 1, "total_steps": 2, "steps_per_second": 1.0, "phase": "training"}
        atomic.atomic_write(attempt.path / "heartbeat", json_io.to_json_bytes(beat))
    else:
        atomic.write_once(
            attempt.path / "end.json", json_io.to_json_bytes({"kind": kind, **last})
        )
    atomic.append_jsonl(
        attempt.metrics_path, {"phase": "train", "step": 1, "attempt_seconds": spent}
    )
    if kind == "trained":
        run.write_outcome(outcome(number, device))


def outcome(attempt: int, device: str) -> Outcome:
    """100 steps of 0.3 s."""
    cost = {"seconds_per_step": 0.3, "parameters": 1e6, "checkpoint_bytes": 5e6}
    return Outcome(
        kind="trained", step=100, attempt=attempt, training_hash="t", source_hash="s",
        numerics_class={"device": device}, weights_digest="w", best_step=None, cost=cost,
    )  # fmt: skip


def priced(seconds: float, source: str = "probe") -> CostEstimate:
    return CostEstimate(seconds=seconds, low=seconds * 0.5, high=seconds * 2, source=source)


def states(plan: Plan, kind: Any = "pending") -> dict[str, RunState]:
    return {c.run_id: RunState(status=kind) for c in plan.cells}


def test_nothing_is_known_of_what_never_ran(store: Store, plan: Plan) -> None:
    assert estimate.estimate_costs(store, plan) == {}
    assert (
        estimate.describe_total_cost(plan.cells, states(plan), {}, 2) == "not measured for 2 arms"
    )


def test_a_run_is_billed_all_its_attempts_and_what_was_lost(store: Store) -> None:
    """Of 30 s of training 22 were done by the attempts that did not finish, in 42 s."""
    run = store.get_run("r")
    took(run, 30, None, spent=25)
    half = measure_run_time(run, run.read_outcome())
    assert half is not None
    assert half.wall_seconds == half.wasted_seconds == pytest.approx(30), (
        "nothing has come of it yet"
    )
    took(run, 12, "interrupted", spent=10)
    took(run, 9, "trained", spent=8)
    took(run, 5, "evaluated")
    bill = measure_run_time(run, run.read_outcome())
    assert bill is not None
    assert (bill.wall_seconds, bill.num_attempts) == (pytest.approx(56), 4)
    assert bill.wasted_seconds == pytest.approx(42 - 22)
    assert bill.productive_seconds == pytest.approx(36)
    assert bill.end_reason_counts == {"interrupted": 2}


def test_what_was_not_disturbed_lost_nothing(store: Store) -> None:
    run = store.get_run("r")
    took(run, 40, "trained", spent=30)
    bill = measure_run_time(run, run.read_outcome())
    assert bill is not None
    assert (bill.wasted_seconds, bill.end_reason_counts) == (0, {})


def test_past_runs_come_before_probes(store: Store, plan: Plan) -> None:
    for arm in ARMS:
        probe = {**PROBE, "arm": arm, "seconds_per_step": 0.5, "setup_and_eval_seconds": 4.0}
        atomic.append_jsonl(store.get_sweep("s").probes_path, probe)
    for cell, seconds in zip([c for c in plan.cells if c.arm == "full"], (10.0, 20.0, 90.0)):
        took(store.get_run(cell.run_id), seconds, "trained")
    full, none = estimate.estimate_costs(store, plan).values()
    assert (full.low, full.seconds, full.high) == (10, 20, 90), "the median, and the spread"
    assert (full.source, full.checkpoint_bytes, full.stored_bytes) == ("past runs", 5e6, 8e6)
    assert none.seconds == 29, "the arm's own number of steps"
    assert (none.low, none.high, none.source) == (29 * 0.75, 29 * 1.25, "probe")
    apart = estimate.estimate_costs(store, plan, exclude=[c.run_id for c in plan.cells])
    assert apart["full"].source == "probe", "what is to be foretold does not foretell itself"


def test_few_runs_have_the_doubt_of_few_runs(store: Store, plan: Plan) -> None:
    took(store.get_run(plan.cells[0].run_id), 20, "trained")
    full = estimate.estimate_costs(store, plan)["full"]
    assert (full.low, full.seconds, full.high) == (15, 20, 25)


def test_a_preempted_run_foretells_an_undisturbed_one(store: Store, plan: Plan) -> None:
    run = store.get_run(plan.cells[0].run_id)
    took(run, 50, "interrupted", spent=22)
    took(run, 10, "trained", spent=8)
    assert estimate.estimate_costs(store, plan)["full"].seconds == pytest.approx(32)


def test_steps_that_differ_widen_the_interval(store: Store, plan: Plan) -> None:
    probe = {**PROBE, "seconds_per_step": 1.0}
    atomic.append_jsonl(
        store.get_sweep("s").probes_path, {**probe, "step_seconds_range": [0.5, 3.0]}
    )
    full = estimate.estimate_costs(store, plan)["full"]
    assert (full.low, full.seconds, full.high) == (50, 100, 300)


def test_arms_that_differ_in_their_draws_alone_have_one_price(store: Store, plan: Plan) -> None:
    again = Arm(name="again", label="", role="noise", levels={}, config_diff={"stream": 1})
    cell = Cell(arm="again", seed=0, run_id="a" * 16)
    both = dataclasses.replace(plan, arms=(*plan.arms, again), cells=(*plan.cells, cell))
    took(store.get_run(cell.run_id), 20, "trained")
    known = estimate.estimate_costs(store, both)
    assert known["full"] == known["again"]
    assert "none" not in known


def test_the_newest_probe_counts(store: Store, plan: Plan) -> None:
    for seconds in (9.0, 1.0):
        probe = {**PROBE, "seconds_per_step": seconds}
        atomic.append_jsonl(store.get_sweep("s").probes_path, probe)
    assert estimate.estimate_costs(store, plan)["full"].seconds == 100


def test_what_another_kind_of_device_took_tells_nothing(store: Store, plan: Plan) -> None:
    on_gpu = dataclasses.replace(
        plan, base_config={**plan.base_config, "runtime": {"device": "cuda:1"}}
    )
    took(store.get_run(plan.cells[0].run_id), 20, "trained")
    for unsaid in ({}, {"device": "cpu"}):
        probe = {"arm": "full", "seconds_per_step": 9.0, "setup_and_eval_seconds": 0.0, **unsaid}
        atomic.append_jsonl(store.get_sweep("s").probes_path, probe)
    assert estimate.estimate_costs(store, on_gpu) == {}
    assert estimate.estimate_costs(store, plan)["full"].seconds == 20
    atomic.append_jsonl(
        store.get_sweep("s").probes_path, {**PROBE, "device": "cuda", "seconds_per_step": 1.0}
    )
    assert estimate.estimate_costs(store, on_gpu)["full"].seconds == 100
    took(store.get_run(plan.cells[2].run_id), 30, "trained", device="cuda")
    assert estimate.estimate_costs(store, on_gpu)["full"].seconds == 30
    assert estimate.estimate_costs(store, plan)["full"].seconds == 20


def test_an_estimate_adds_what_is_open_and_divides_by_slots(plan: Plan) -> None:
    known = {"full": priced(100), "none": priced(20)}
    text = estimate.describe_total_cost(plan.cells, states(plan), known, 2)
    assert text == "6 runs in about 3 min (2 min to 6 min) on 2 workers (from probe)"
    text = estimate.describe_total_cost(plan.cells, states(plan), known, 2, gpus_per_run=4)
    assert "on 2 workers, 0.4 GPU-hours (from probe)" in text
    assert estimate.describe_total_cost(plan.cells, [], known, 2) == "nothing to run"
    one = [plan.cells[0].run_id]
    assert estimate.describe_total_cost(plan.cells, one, known, 2).startswith(
        "1 runs in about 2 min"
    )


def test_what_is_not_measured_is_said(plan: Plan) -> None:
    known = {"full": priced(100, "past runs")}
    text = estimate.describe_total_cost(plan.cells, states(plan), known, 1)
    assert text == "not measured for 1 arms; the rest 5 min"
    assert estimate.format_cost_columns(None, 1)[0] == "not measured"
    assert estimate.format_cost_columns(known["full"], 0) == ("2 min (50 s to 3 min)", "", "", "")
    assert estimate.format_cost_columns(known["full"], 9)[1] == "0.25"


def test_what_was_foretold_first_stands(store: Store, plan: Plan) -> None:
    runs = [c.run_id for c in plan.cells]
    estimate.record_estimates(store.get_sweep("s"), plan.cells, runs[:2], {"full": priced(10)}, 2)
    estimate.record_estimates(
        store.get_sweep("s"), plan.cells, runs, {a: priced(99) for a in ARMS}, 2
    )
    said = {
        p["run"]: p["seconds"] for p in atomic.read_jsonl(store.get_sweep("s").cost_estimates_path)
    }
    assert said == {runs[0]: 10, **dict.fromkeys(runs[1:], 99)}


def test_a_run_that_two_arms_share_is_paid_once(plan: Plan) -> None:
    shared = dataclasses.replace(
        plan, cells=tuple(dataclasses.replace(c, run_id="r" * 16) for c in plan.cells)
    )
    known = {a: priced(30) for a in ARMS}
    text = estimate.describe_total_cost(shared.cells, ["r" * 16], known, 1)
    assert text.startswith("1 runs in about 30 s")


@pytest.mark.parametrize(
    ("seconds", "spoken"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (600, "10 min"), (5400, "1.5 h"), (86400, "24.0 h")],
)
def test_seconds_are_spoken(seconds: float, spoken: str) -> None:
    assert price_in_words(seconds) == spoken
