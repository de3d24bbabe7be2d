"""Use of the machine on the page: samples of all attempts, thinned if they are many."""

from __future__ import annotations

from pathlib import Path

from analysis.page import usage
from tests.helpers import fake_sweep, page_store
from tests.helpers.other_user import open_to_other_users, run_as_other_user
from uniclip.store import Store


def test_samples_have_hours_and_units(tmp_path: Path) -> None:
    plan = page_store.make_plan(fake_sweep.Truth(seeds=(0,)))
    store, cell = Store(tmp_path), plan.cells[0]
    fake_sweep.begin(store, cell.run_id)
    page_store.write_usage(store, cell)
    encoded = usage.encode_usage(store, plan)
    run = encoded["runs"][cell.run_id]
    assert run["hours"][:2] == [0.0, 0.00833333]
    assert run["values"]["memory_bytes"][0] == 2.0
    assert [q["key"] for q in encoded["quantities"]] == ["cpu_percent", "memory_bytes"]
    assert encoded["notes"] == []


def test_many_samples_are_thinned_and_odd_lines_ignored(tmp_path: Path) -> None:
    plan = page_store.make_plan(fake_sweep.Truth(seeds=(0,)))
    store, cell = Store(tmp_path), plan.cells[0]
    attempt = fake_sweep.begin(store, cell.run_id)
    attempt.usage_path.write_text('{"time": "<b>"}\n{"cpu_percent": 1}\n[]\nnot JSON\n')
    page_store.write_usage(store, cell, 1000)
    encoded = usage.encode_usage(store, plan)
    assert len(encoded["runs"][cell.run_id]["hours"]) == 250
    assert encoded["notes"] == ["Of long runs every k-th sample is shown."]


def test_runs_of_other_users_are_left_out(tmp_path: Path) -> None:
    open_to_other_users(tmp_path)
    store, plan = page_store.write_store(tmp_path)
    denied = store.get_run(plan.cells[0].run_id)
    (denied.path / "attempts").chmod(0o700)

    def act_as_other_user() -> None:
        assert set(usage.encode_usage(store, plan)["runs"]) == {c.run_id for c in plan.cells[1:4]}

    run_as_other_user(act_as_other_user)
