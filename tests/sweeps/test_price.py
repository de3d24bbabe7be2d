"""Prices: from past runs, else probes, else nothing is claimed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sweeps import price, process
from sweeps.claims import State
from sweeps.price import Price
from uniclip import store as store_
from uniclip.store import Arm, Cell, Plan, Primary, RunFolder, Store

ARMS = ("full", "none")


@pytest.fixture
def plan() -> Plan:
    arms = (
        Arm(name="full", label="", role="crossed", levels={}, delta={}),
        Arm(name="none", label="", role="crossed", levels={}, delta={"train.steps": 50}),
    )
    cells = tuple(Cell(arm=a, seed=s, run=f"{a}{s}".ljust(16, "0")) for s in range(3) for a in ARMS)
    return Plan(
        sweep="s", ablation="a", title="t", budget="quick", data="scenes", design="crossed",
        arms=arms, reference="full", components=(), contrasts=(),
        primary=Primary(dataset="scenes", score="x"), seeds=(0, 1, 2), cells=cells,
        evaluations={n: {} for n in ARMS}, missing={}, base={"train": {"steps": 100}},
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def took(run: RunFolder, seconds: float, kind: str | None) -> None:
    """One more attempt that took so long; without `kind` it died after its last heartbeat."""
    number = len(run.attempts()) + 1
    attempt = run.claim(number, dataclasses.replace(process.owner({}), time=1000.0))
    assert attempt is not None
    last: dict[str, Any] = {"time": 1000.0 + seconds}
    if kind is None:
        beat = {**last, "step": 1, "steps": 2, "rate": 1.0, "phase": "training"}
        store_.replace(attempt.path / "heartbeat", store_.as_json(beat))
    else:
        store_.publish(attempt.path / "ended.json", store_.as_json({"kind": kind, **last}))


def states(plan: Plan, kind: Any = "planned") -> dict[str, State]:
    return {c.run: State(kind=kind) for c in plan.cells}


def test_nothing_is_known_of_what_never_ran(store: Store, plan: Plan) -> None:
    assert price.prices(store, plan) == {}
    assert price.estimate(plan, states(plan), {}, 2) == "not measured for 2 arms"


def test_a_finished_run_cost_all_its_attempts(store: Store) -> None:
    run = store.run("r")
    assert price.spent(run) is None
    took(run, 30, None)
    assert price.spent(run) is None, "half a run tells nothing"
    took(run, 12, "interrupted")
    took(run, 8, "trained")
    assert price.spent(run) == pytest.approx(50)


def test_past_runs_come_before_probes(store: Store, plan: Plan) -> None:
    for arm in ARMS:
        probe = {"arm": arm, "seconds_per_step": 0.5, "fixed_seconds": 4.0}
        store_.append(store.sweep("s").probes, probe)
    for cell, seconds in zip([c for c in plan.cells if c.arm == "full"], (10.0, 20.0, 90.0)):
        took(store.run(cell.run), seconds, "trained")
    found = price.prices(store, plan)
    assert found["full"] == Price(seconds=20.0, source="past runs"), "the median"
    assert found["none"] == Price(seconds=29.0, source="probe"), "the arm's own number of steps"


def test_the_newest_probe_counts(store: Store, plan: Plan) -> None:
    for seconds in (9.0, 1.0):
        probe = {"arm": "full", "seconds_per_step": seconds, "fixed_seconds": 0.0}
        store_.append(store.sweep("s").probes, probe)
    assert price.prices(store, plan)["full"].seconds == 100


def test_an_estimate_adds_what_is_open_and_divides_by_slots(plan: Plan) -> None:
    known = {"full": Price(seconds=100, source="probe"), "none": Price(seconds=20, source="probe")}
    text = price.estimate(plan, states(plan), known, 2)
    assert text == "6 runs in about 3 min on 2 slots (from probe)"
    assert price.estimate(plan, [], known, 2) == "nothing to run"
    one = [plan.cells[0].run]
    assert price.estimate(plan, one, known, 2).startswith("1 runs in about 50 s")


def test_what_is_not_measured_is_said(plan: Plan) -> None:
    known = {"full": Price(seconds=100, source="past runs")}
    text = price.estimate(plan, states(plan), known, 1)
    assert text == "not measured for 1 arms; the rest 5 min"


def test_a_run_that_two_arms_share_is_paid_once(plan: Plan) -> None:
    shared = dataclasses.replace(
        plan, cells=tuple(dataclasses.replace(c, run="r" * 16) for c in plan.cells)
    )
    known = {a: Price(seconds=30, source="probe") for a in ARMS}
    text = price.estimate(shared, ["r" * 16], known, 1)
    assert text.startswith("1 runs in about 30 s")


@pytest.mark.parametrize(
    ("seconds", "spoken"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (600, "10 min"), (5400, "1.5 h"), (86400, "24.0 h")],
)
def test_seconds_are_spoken(seconds: float, spoken: str) -> None:
    assert price.spoken(seconds) == spoken
