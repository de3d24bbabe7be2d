"""`run`: the exit status of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps.claims.status import RunState
from sweeps.cli.commands import run as run_command
from sweeps.controller.controller import Detached, SweepController
from tests.helpers.command_line import execute
from tests.sweeps.cli import OVERRIDES
from tests.sweeps.monitor import make_row
from uniclip.store import Plan, RetryPolicy, RunStatus


@pytest.mark.parametrize(
    ("statuses", "only_runs", "report_status", "exit_status"),
    [
        ([RunStatus.COMPLETE, RunStatus.DIVERGED], (), 0, 0),
        ([RunStatus.COMPLETE], (), run_command.EXIT_CELLS_FAILED, 1),
        ([RunStatus.COMPLETE], ("r",), 1, 0),
        ([RunStatus.COMPLETE, RunStatus.FAILED], (), 0, 1),
        ([RunStatus.STALLED], (), 0, 1),
    ],
)
def test_the_exit_status_is_that_of_the_cells_and_of_the_report(
    statuses: list[RunStatus],
    only_runs: tuple[str, ...],
    report_status: int,
    exit_status: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [make_row(RunState(status=status)) for status in statuses]
    controllers: list[SweepController] = []

    def run_cells(controller: SweepController, *_: object) -> Any:
        controllers.append(controller)
        controller.policy = RetryPolicy(only_runs=only_runs)
        return rows

    monkeypatch.setattr(run_command, "run_cells", run_cells)
    monkeypatch.setattr(run_command, "print_report", lambda store, plan: report_status)
    assert execute("run", *OVERRIDES, "seeds=[7]") == exit_status
    (controller,) = controllers
    assert controller.plan.seeds == (7,)
    assert controller.follow_up_argv == ("run", *OVERRIDES, "seeds=[7]")


def test_a_sweep_that_is_left_to_jobs_ends_without_a_report(
    plan: Plan,
    work_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run_cells(controller: SweepController, *_: object) -> Any:
        raise Detached

    monkeypatch.setattr(run_command, "run_cells", run_cells)
    assert execute(*OVERRIDES) == 0
    assert capsys.readouterr().out == f"{Detached()}\n"
