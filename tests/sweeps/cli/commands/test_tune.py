"""`tune`: what is printed and returned if the tuning cannot go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps.claims.status import RunState
from sweeps.cli.commands import tune as tune_command
from sweeps.controller.controller import Detached, SweepController
from sweeps.tuning.rung import TrialsIncomplete
from sweeps.tuning.tuner import Tuner
from tests.helpers.command_line import execute
from tests.sweeps.cli import OVERRIDES
from tests.sweeps.monitor import make_row
from uniclip.store import RunStatus


def test_trials_start_only_after_every_default_cell_is_finished(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    states = [RunState(status=s) for s in (RunStatus.COMPLETE, RunStatus.FAILED)]
    monkeypatch.setattr(tune_command, "run_cells", lambda controller: map(make_row, states))
    assert execute("tune", *OVERRIDES, "arms=[full]") == 1
    assert "tuning waits for 1 cells of the default arms\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "exit_status", "message"),
    [
        (TrialsIncomplete("2 runs are not finished"), 1, "tuning: 2 runs are not finished"),
        (Detached(), 0, str(Detached())),
    ],
)
def test_trials_that_are_not_finished_end_the_command(
    error: Exception,
    exit_status: int,
    message: str,
    work_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def tune(self: Tuner, display: Any, on_round: Any) -> Any:
        raise error

    def run_cells(controller: SweepController, *_: object) -> Any:
        assert controller.shared_limit_check is not None
        return [make_row(RunState(status=RunStatus.COMPLETE))]

    monkeypatch.setattr(tune_command, "run_cells", run_cells)
    monkeypatch.setattr(Tuner, "tune", tune)
    assert execute("tune", *OVERRIDES, "arms=[full]") == exit_status
    output = capsys.readouterr().out
    assert output.splitlines()[-1] == message
    assert output.count("tuning: 20 trials x 1 arms x 1 seed = 20 runs") == 2


def test_adaptive_seeds_are_refused(work_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute("tune", *OVERRIDES, "seeds=adaptive") == 2
    assert capsys.readouterr().err == (
        "sweep.py: tune does not go with seeds=adaptive: give a number, such as seeds=5\n"
    )
    assert not (work_folder / "store").exists()
