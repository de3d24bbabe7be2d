"""Cells in the process of the command: breakpoints, post-mortem, and the same command again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.config.request import parse_request
from sweeps.config.schema import DebugLauncherConfig, SweepConfig
from sweeps.controller.controller import SweepController
from sweeps.controller.sweep_run import build_controller
from sweeps.launchers.debug import DebugLauncher
from sweeps.monitor.display import Display
from tests.helpers import ROOT
from tests.helpers.trivial_sweep import pass_audit, planned
from tests.sweeps.cli import OVERRIDES
from uniclip.errors import UserError
from uniclip.store import Store

SETTINGS = SweepConfig(launcher=DebugLauncherConfig())
CELL = """
from tests.helpers.trivial_cell import *
from tests.helpers import trivial_cell

def execute(run, *arguments):
    value = run.read_spec()["config"]["seed"]
    breakpoint()
    if not {fixed}:
        raise ValueError(f"no {{value}}\\nat all")
    return trivial_cell.execute(run, *arguments)
"""
SCRIPT = """
import sys
from dataclasses import replace
from sweeps.cli import main
from sweeps.controller.controller import SweepController
from tests.helpers.trivial_sweep import pass_audit, planned
from tests.sweeps.launchers.test_debug import SETTINGS, Display, Store

store, resolved_plan = Store(sys.argv[1]), planned(2, 0.0)
plan = replace(resolved_plan.plan, executor="debugged_cell")
pass_audit(store, plan)
SweepController(
    store=store, resolved_plan=replace(resolved_plan, plan=plan), settings=SETTINGS,
    display=Display(redraws=False),
).run()
"""


def run_script(folder: Path, typed: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the sweep of a cell with a breakpoint, with what a user types into the debugger."""
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", "COLUMNS": "200", **variables}
    command = [sys.executable, "-c", SCRIPT, str(folder / "store")]
    return subprocess.run(
        command, input=typed, env=environment, cwd=folder, capture_output=True, text=True
    )


def test_cells_run_one_after_another_in_this_process(tmp_path: Path) -> None:
    store, sweep = Store(tmp_path), planned(3, 0.0)
    pass_audit(store, sweep.plan)
    controller = SweepController(
        store=store, resolved_plan=sweep, settings=SETTINGS, display=Display(redraws=False)
    )
    assert controller.run()
    assert isinstance(controller.launcher, DebugLauncher)
    claims = [run.get_attempt(1).read_claim() for run in store.iter_runs()]
    assert [claim.pid for claim in claims if claim] == 3 * [os.getpid()]
    assert all(run.read_outcome() is not None for run in store.iter_runs())


def test_a_breakpoint_and_the_post_mortem_read_what_is_typed(tmp_path: Path) -> None:
    (tmp_path / "debugged_cell.py").write_text(CELL.format(fixed="False"))
    done = run_script(tmp_path, "p value + 41\nc\np 'seed', value\nq\n")
    assert "(Pdb) 41\n" in done.stdout, "breakpoint() in the cell"
    assert "(Pdb) ('seed', 0)\n" in done.stdout, "in the frame that raised the error"
    assert "failed: ValueError: no 0 at all; the same command runs it again" in done.stderr
    first, second = [Store(tmp_path / "store").get_run(run_id) for run_id in planned(2, 0.0).specs]
    attempt_end = first.get_attempt(1).read_end()
    assert attempt_end is not None
    assert (attempt_end.kind, attempt_end.error) == ("interrupted", "ValueError: no 0 at all")
    assert "ValueError" in first.get_attempt(1).log_path.read_text()
    assert second.list_attempts() == [], "the first failure ends the command"
    (tmp_path / "debugged_cell.py").write_text(CELL.format(fixed="True"))
    done = run_script(tmp_path, "", PYTHONBREAKPOINT="0")
    assert done.returncode == 0, done.stderr
    assert [first.list_attempts(), second.list_attempts()] == [[1, 2], [1]]
    assert first.read_outcome() is not None


def test_quitting_the_debugger_stops_the_command_and_the_cell_continues(tmp_path: Path) -> None:
    (tmp_path / "debugged_cell.py").write_text(CELL.format(fixed="True"))
    done = run_script(tmp_path, "q\n")
    assert "KeyboardInterrupt" in done.stderr
    run = Store(tmp_path / "store").get_run(next(iter(planned(2, 0.0).specs)))
    attempt_end = run.get_attempt(1).read_end()
    assert attempt_end is not None
    assert attempt_end.kind == "interrupted"
    done = run_script(tmp_path, "c\nc\n")
    assert done.returncode == 0, done.stderr
    assert run.read_outcome() is not None


def test_it_runs_one_cell_at_a_time(tmp_path: Path) -> None:
    words = [*OVERRIDES, f"store={tmp_path}", "launcher=debug"]
    request = parse_request(words)
    assert request.settings.max_parallel_runs(1) == 1
    assert build_controller(request, request.build_plan()).count_workers() == 1
    with pytest.raises(UserError, match="launcher=debug runs one cell at a time"):
        parse_request([*words, "launcher.max_workers=2"])
    with pytest.raises(UserError, match="leave launcher.tasks_per_node out"):
        parse_request([*words, "launcher.tasks_per_node=2"])
