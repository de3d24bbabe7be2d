"""The cells of a sweep as rows of the page's table, and the progress of the sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.collect.frame import SweepData
from analysis.tables.costs import build_cost_report
from uniclip.store import Plan, RunStatus

CELL_KEYS = (
    *("cell", "run", "status", "step", "total_steps", "steps_per_second", "loss", "phase"),
    *("seconds_left", "last_heartbeat", "location", "attempt", "reason", "advice"),
)
"""Fields of a cell, named as in `sweep.py status --json`; a page has those that any cell has."""
ENDED_STATUSES = (RunStatus.COMPLETE, RunStatus.DIVERGED, RunStatus.OUTDATED)
"""Statuses of cells that have a result."""


def list_cell_records(sweep_data: SweepData) -> list[dict[str, Any]]:
    """Return a record per cell with what the files of its run state, in the plan's order."""
    steps = sweep_data.costs["steps"] if "steps" in sweep_data.costs else None
    records = []
    for i, (arm, seed, run, status) in enumerate(
        zip(*(sweep_data.cells[c] for c in ("arm", "seed", "run", "status")))
    ):
        provenance = sweep_data.provenance.get(run)
        step = None if steps is None or steps[i] != steps[i] else int(steps[i])
        records.append(
            {
                "cell": f"{arm}/{seed}",
                "run": run,
                "status": str(status),
                "step": step,
                "location": provenance.claim.host if provenance else None,
                "attempt": int(sweep_data.costs["num_attempts"][i]),
            }
        )
    return records


def encode_cells(plan: Plan, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the cells as a list of column names and one list of values per cell.

    The first columns are the number of the arm in the plan, and the seed.

    Args:
        plan: the plan.
        records: a record for each cell of the plan, in its order.
    """
    arm_numbers = {arm.name: i for i, arm in enumerate(plan.arms)}
    keys = [k for k in CELL_KEYS[1:] if any(r.get(k) not in (None, "", 0) for r in records)]
    rows = [
        [arm_numbers[cell.arm], cell.seed, *(_encode(record.get(key)) for key in keys)]
        for cell, record in zip(plan.cells, records, strict=True)
    ]
    return {"columns": ["arm", "seed", *keys], "rows": rows}


def count_progress(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the number of cells, of those with a result, and of those with each status."""
    counts = Counter(str(record["status"]) for record in records)
    num_ended = sum(counts[status] for status in ENDED_STATUSES)
    return {
        "num_cells": len(records),
        "num_ended": num_ended,
        "done_fraction": num_ended / len(records) if records else 1.0,
        "counts": dict(counts.most_common()),
    }


def sum_gpu_hours(sweep_data: SweepData) -> dict[str, float] | None:
    """Return GPU-hours that were spent, and that all cells were estimated to take.

    Runs that cells share count once. None if no run was given a GPU.
    """
    costs = build_cost_report(sweep_data).frame
    if "gpu_hours" not in costs or not costs["num_gpus"].fillna(0).any():
        return None
    runs = costs[~costs["shared_run"]]
    return {
        "spent": round(float(runs["gpu_hours"].sum()), 4),
        "estimated": round(float(runs["predicted_gpu_hours"].sum()), 4),
    }


def _encode(value: Any) -> Any:
    """Return a value for JSON: a float with six digits."""
    return float(f"{value:.6g}") if isinstance(value, float) and abs(value) < 1e8 else value
