"""What a store holds: its sweeps and runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sweeps.monitor import inventory
from tests.helpers.command_line import write_finished_cell
from tests.helpers.plans import plan_from_words
from tests.sweeps.cli import OVERRIDES
from uniclip.store import Store


def test_sweeps_have_state_date_progress_size_and_command(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    plan = plan_from_words(*OVERRIDES, "arms=[full,clip]", "seeds=[0,4]").plan
    write_finished_cell(store, plan)
    (store.report_path(plan.sweep_id)).mkdir(parents=True)
    (store.report_path(plan.sweep_id) / "report.html").write_bytes(bytes(1_000_000))
    broken = store.get_sweep("zzz-smoke-00000000")
    broken.path.mkdir()
    (broken.path / "plan.json").write_text("{")
    (entry,) = [e for e in inventory.list_sweeps(store) if e.id == plan.sweep_id]
    assert (entry.state, entry.progress) == ("3 pending, 1 complete", "1/4")
    assert entry.num_bytes > 1_000_000
    assert abs(entry.date - time.time()) < 3600
    assert entry.command == f"run {' '.join(OVERRIDES)} 'arms=[full,clip]' 'seeds=[0,4]'"
    (entry,) = [e for e in inventory.list_sweeps(store) if e.id != plan.sweep_id]
    assert "damaged" in entry.state


def test_runs_name_their_cells_and_runs_of_no_sweep_are_listed_too(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    plan = plan_from_words(*OVERRIDES, "arms=[full]").plan
    write_finished_cell(store, plan)
    store.get_run("ffff000011112222").write_spec({"config": {}, "data": {}})
    entries = {e.id: e for e in inventory.list_runs(store, [plan], only_planned=False)}
    finished = entries[plan.cells[0].run_id]
    assert (finished.state, finished.progress) == ("complete", "9/9")
    assert finished.cells == (f"{plan.sweep_id} full/0",)
    assert entries["ffff000011112222"].cells == ()
    assert entries["ffff000011112222"].state == "pending"
    (entry,) = inventory.list_runs(store, [plan], only_planned=True)
    assert entry.id == plan.cells[0].run_id
    assert inventory.list_sweeps(Store(tmp_path / "nothing")) == []
    assert inventory.list_runs(Store(tmp_path / "nothing"), [], only_planned=False) == []


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (3.2e9, "3.2 GB"), (4e15, "4000.0 TB")],
)
def test_sizes_have_units(num_bytes: float, text: str) -> None:
    assert inventory.format_size(num_bytes) == text
