"""A complete sweep writes nothing to its runs, and a store that cannot be written is read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sweeps.claims import process
from sweeps.cli.commands import run as run_command
from sweeps.config.schema import SweepConfig
from sweeps.controller.controller import SweepController
from sweeps.controller.sweep_run import run_cells
from sweeps.monitor.display import Display
from tests.helpers import trivial_cell
from tests.helpers.command_line import read_files
from tests.helpers.other_user import open_to_other_users, run_as_other_user
from tests.helpers.trivial_sweep import planned
from uniclip.store import Store

RESOLVED_PLAN = planned(2, 0.0)


@pytest.fixture
def finished(tmp_path: Path) -> Store:
    """A store with a finished sweep, below folders that every user may search."""
    open_to_other_users(tmp_path)
    store = Store(tmp_path / "store")
    for run_id, spec in RESOLVED_PLAN.specs.items():
        run = store.get_run(run_id)
        run.write_spec(spec)
        attempt = run.claim_attempt(1, process.make_claim_record({}))
        assert attempt is not None
        evaluations = RESOLVED_PLAN.plan.required_evaluations()[run_id]
        trivial_cell.execute(run, {}, attempt, evaluations, lambda: False)
        attempt.write_end("trained")
    make_controller(store).run()
    return store


def make_controller(store: Store) -> SweepController:
    return SweepController(
        store=store, resolved_plan=RESOLVED_PLAN, settings=SweepConfig(), display=Display()
    )


def read_inodes(store: Store) -> dict[str, tuple[int, int]]:
    """Return inode and time of every file and folder, which writing changes."""
    paths = [store.root, *store.root.rglob("*")]
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in paths}


def test_a_complete_sweep_writes_nothing(finished: Store) -> None:
    before = read_inodes(finished)
    rows = run_cells(make_controller(finished))
    assert [row.state.status for row in rows] == ["complete", "complete"]
    assert read_inodes(finished) == before


def test_a_complete_sweep_in_a_store_of_another_user_is_complete(finished: Store) -> None:
    def act_as_other_user() -> None:
        assert not os.access(finished.root, os.W_OK)
        rows = run_cells(make_controller(finished))
        assert [row.state.status for row in rows] == ["complete", "complete"]

    before = read_files(finished.root)
    run_as_other_user(act_as_other_user)
    assert read_files(finished.root) == before


def test_a_plan_that_cannot_be_replaced_is_kept(
    finished: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """A later version of the program would write another record of the same plan."""
    folder = finished.get_sweep(RESOLVED_PLAN.plan.sweep_id)
    plan_path = folder.path / "plan.json"
    plan_path.write_bytes(plan_path.read_bytes() + b"\n")
    content = plan_path.read_bytes()

    def act_as_other_user() -> None:
        run_cells(make_controller(finished))
        assert "cannot be written (Permission denied)" in capsys.readouterr().out

    run_as_other_user(act_as_other_user)
    assert plan_path.read_bytes() == content


def test_a_report_that_cannot_be_written_is_a_line(
    finished: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied", f"{finished.root}/reports")

    monkeypatch.setattr(run_command, "print_report", refuse)
    result = run_command.run_and_report(make_controller(finished))
    assert (result.exit_status, result.report) == (0, None)
    assert f"report: not written ({finished.root}/reports: Permission" in capsys.readouterr().out
    assert stat.S_ISDIR(finished.root.stat().st_mode)
