"""`logs`: the log of a cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.command_line import execute, write_finished_cell
from tests.sweeps.cli import OVERRIDES
from uniclip.store import Plan, Store


def test_logs_prints_the_newest_log_and_its_path(
    work_folder: Path, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(work_folder / "store")
    write_finished_cell(store, plan)
    cell = plan.cells[0]
    for name in (cell.name, cell.run_id[:8]):
        assert execute("logs", *OVERRIDES, name) == 0
        text = capsys.readouterr().out
        assert "hello from the log" in text
        assert str(store.get_run(cell.run_id).get_attempt(1).log_path) in text
