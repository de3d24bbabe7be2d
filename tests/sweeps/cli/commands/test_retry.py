"""`retry`: which cells are run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps.claims import process
from sweeps.cli.commands import retry as retry_command
from sweeps.cli.commands.run import SweepResult
from sweeps.config.request import SweepRequest
from sweeps.controller.controller import SweepController
from tests.helpers.command_line import execute, write_finished_cell
from tests.sweeps.cli import OVERRIDES
from uniclip.store import Plan, Store


@pytest.mark.parametrize("names", [[], ["full/1"], ["--force", "full/1"]])
def test_the_failed_cells_or_those_that_are_named_are_run_again(
    names: list[str], work_folder: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(work_folder / "store")
    write_finished_cell(store, plan)
    cell = next(c for c in plan.cells if c.name == "full/1")
    attempt = store.get_run(cell.run_id).claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    attempt.write_end("failed", "ValueError: broken")
    controllers: list[SweepController] = []

    def run_and_report(controller: SweepController, request: SweepRequest) -> Any:
        controllers.append(controller)
        return SweepResult(sweep_id=plan.sweep_id, rows=(), exit_status=0)

    monkeypatch.setattr(retry_command, "run_and_report", run_and_report)
    for run in {c.run_id for c in plan.cells}:
        store.get_run(run).write_spec({})
    assert execute("retry", *OVERRIDES, *names) == 0
    (controller,) = controllers
    assert controller.policy.retry_attempts == ((cell.run_id, 1),)
    assert controller.policy.force_attempts == ()
