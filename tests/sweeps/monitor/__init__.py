"""Tests of the display of a sweep, and what they share."""

from __future__ import annotations

import time
from typing import Any

from sweeps.claims.status import RunState
from sweeps.monitor.status import CellRow
from uniclip.store import Arm, Cell, Heartbeat, Plan, PrimaryMetric

RUNS = {"full": "a" * 16, "twin": "a" * 16, "other": "b" * 16}
"""Arm -> run id: three arms, two of which are one run."""


def make_plan() -> Plan:
    """Return a plan of one seed of the arms in `RUNS`."""
    return Plan(
        sweep_id="s",
        ablation="a",
        title="t",
        budget="quick",
        data="scenes",
        design="listed",
        arms=tuple(
            Arm(name=name, label=name, role="outside", levels={}, config_diff={}) for name in RUNS
        ),
        reference="full",
        components=(),
        contrasts=(),
        primary_metric=PrimaryMetric(dataset="scenes", metric="x"),
        seeds=(0,),
        cells=tuple(Cell(arm=name, seed=0, run_id=run) for name, run in RUNS.items()),
        evaluation_hashes={name: {} for name in RUNS},
        missing_datasets={},
        base_config={"train": {"steps": 9}, "runtime": {"device": "cpu"}},
    )


def make_heartbeat(**changes: Any) -> Heartbeat:
    """Return the heartbeat of a run at step 30 of 90."""
    fields = {"time": time.time(), "step": 30, "total_steps": 90, "steps_per_second": 2.0}
    return Heartbeat(**{"phase": "training", **fields, **changes})


def make_row(state: RunState, cell: str = "full/0") -> CellRow:
    """Return the row of a cell with this state."""
    return CellRow(cell=cell, run="a" * 16, state=state)
