"""Cells of the page: columns with a value, counts, and GPU-hours that shared runs count once."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from analysis.collect.frame import SweepData
from analysis.page import cells
from uniclip.store import Store


def test_records_have_what_files_state(page_data: tuple[Store, SweepData]) -> None:
    records = cells.list_cell_records(page_data[1])
    assert [r["cell"] for r in records] == [c.name for c in page_data[1].plan.cells]
    assert [(r["status"], r["step"]) for r in records[-3:]] == [
        ("complete", 200),
        ("pending", None),
        ("failed", None),
    ]


def test_columns_without_values_are_left_out(page_data: tuple[Store, SweepData]) -> None:
    plan = page_data[1].plan
    records = [{"status": "running", "loss": 0.123456789, "reason": ""} for _ in plan.cells]
    encoded = cells.encode_cells(plan, records)
    assert encoded["columns"] == ["arm", "seed", "status", "loss"]
    assert encoded["rows"][1] == [1, 0, "running", 0.123457]


def test_progress_counts_cells_with_a_result() -> None:
    statuses = ["complete", "complete", "diverged", "running"]
    progress = cells.count_progress([{"status": status} for status in statuses])
    assert progress["counts"] == {"complete": 2, "diverged": 1, "running": 1}
    assert (progress["num_ended"], progress["done_fraction"]) == (3, 0.75)


def test_gpu_hours_count_a_shared_run_once(page_data: tuple[Store, SweepData]) -> None:
    assert cells.sum_gpu_hours(page_data[1]) is None, "no run was estimated"
    costs = pd.DataFrame(
        {
            "arm": ["full", "clip", "clip"],
            "run": ["a", "a", "b"],
            "status": "complete",
            "num_gpus": [2, 2, 1],
            "wall_seconds": [3600.0, 3600.0, 1800.0],
            **dict.fromkeys(
                ("predicted_seconds", "predicted_seconds_low", "predicted_seconds_high"),
                [7200.0, 7200.0, 3600.0],
            ),
        }
    )
    hours = cells.sum_gpu_hours(replace(page_data[1], costs=costs))
    assert hours == {"spent": 2.5, "estimated": 5.0}
