"""origins.csv: one row for each cell; none without merged runs."""

from __future__ import annotations

import csv
from pathlib import Path

from analysis.report.origins import COLUMNS, FILE_NAME, write_origins
from tests.helpers import fake_sweep
from uniclip.io.atomic import append_jsonl


def test_a_store_without_merged_runs_has_none(tmp_path: Path) -> None:
    store, _ = fake_sweep.make(tmp_path / "store")
    write_origins(store, fake_sweep.plan(fake_sweep.Truth()), tmp_path)
    assert not (tmp_path / FILE_NAME).exists()


def test_each_cell_has_its_origins(tmp_path: Path) -> None:
    store, _ = fake_sweep.make(tmp_path / "store")
    plan = fake_sweep.plan(fake_sweep.Truth())
    copied, shared = plan.cells[0].run_id, plan.cells[1].run_id
    rows = [
        {"run": copied, "origin": "lab, a", "copied": True, "agreement": ""},
        {"run": shared, "origin": "b", "agreement": "bit for bit", "largest_difference": 0.0},
        {"run": shared, "origin": "c", "agreement": "x", "largest_difference": 0.5},
    ]
    for row in rows:
        append_jsonl(store.origins_path, row)
    write_origins(store, plan, tmp_path)
    written = list(csv.DictReader((tmp_path / FILE_NAME).open()))
    assert tuple(written[0]) == COLUMNS
    assert len(written) == len(plan.cells)
    assert written[0]["origins"] == "lab, a"
    assert written[1]["origins"] == "this store; b; c"
    assert (written[1]["agreement"], written[1]["largest_difference"]) == ("bit for bit; x", "0.5")
    assert written[2]["origins"] == "this store"
