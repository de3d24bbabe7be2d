"""Sweeps of a program, by real commands: killed and resumed, refused, retried and reported."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablations.plan.plan import find_cell
from sweeps.bundles.verification import check_run
from sweeps.claims import process
from sweeps.config.request import parse_request
from tests.helpers.command_ablations import write_command_ablation
from tests.helpers.command_line import Driver, execute
from uniclip.io.atomic import read_jsonl
from uniclip.store import RunFolder

KILLABLE = {
    "kill_at": 3,
    "resume_values": {"steps": 8, "seconds": 0.1},
}


class CommandDriver(Driver):
    """Commands on a sweep of toy programs."""

    def __init__(self, folder: Path, *words: str, **changes: Any) -> None:
        super().__init__(folder / "store")
        self.words = (*write_command_ablation(folder, **changes), *words, f"store={self.folder}")

    def runs(self) -> dict[str, RunFolder]:
        return {c.name: self.store.get_run(c.run_id) for c in self.plan().cells}


def wait_for(find: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 300
    while not (found := find()):
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.02)
    return found


def list_starts(run: RunFolder) -> list[int]:
    path = run.path / "output" / "starts"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.mark.slow
def test_a_sweep_is_killed_resumed_and_reported(tmp_path: Path) -> None:
    driver = CommandDriver(tmp_path, "seeds=3", "steps=30", "seconds=0.1", command=KILLABLE)
    controller = driver.start()
    sweeps = tmp_path / "store" / "sweeps"
    wait_for(lambda: list(sweeps.glob("*/plan.json")))
    run = driver.runs()["base/0"]
    wait_for(lambda: run.get_attempt(1).progress_path.exists())
    claim = run.get_attempt(1).read_claim()
    (program,) = list_starts(run)
    os.kill(claim.pid, signal.SIGKILL)  # type: ignore[union-attr]
    output, _ = controller.communicate(timeout=600)
    assert controller.returncode == 0, output
    assert "audit: 4 of 4 checks passed" in output
    assert not Path(f"/proc/{program}").exists()
    for name, folder in driver.runs().items():
        expected = 2 if name == "base/0" else 1
        assert len(list_starts(folder)) == expected, name
        steps = [r["step"] for r in folder.read_history() if r["phase"] == "train"]
        assert steps == [*range(1, 31)]
        assert [*check_run(folder)] == []
    second = read_jsonl(run.get_attempt(2).metrics_path)
    assert second[0]["step"] > 1
    states = driver.states()
    assert {s["status"] for s in states.values()} == {"complete"}
    assert b"gain" in driver.tables()["effects.csv"]
    plan_records = json.loads(driver.run("--json", command="plan"))
    assert all(record["cost_estimate"]["seconds"] > 0 for record in plan_records)
    assert "complete" in driver.run(command="run")
    assert [len(list_starts(f)) for f in driver.runs().values()] == [2, 1, 1, 1, 1, 1]


@pytest.mark.slow
def test_a_switch_that_changes_nothing_is_refused_before_the_sweep(tmp_path: Path) -> None:
    broken = {"base": {}, "x": {"overrides": {"flags": ["--ignored=1"]}}}
    driver = CommandDriver(tmp_path, "seeds=1", arms=broken)
    output = driver.run(status=2)
    assert "the audit refuses the sweep, no cell was run: x: differs from base does not" in output
    assert not any(run.list_attempts() for run in driver.runs().values())
    assert "no cell was run" in driver.run(status=2), "the next command audits again"
    fixed = {"base": {}, "x": {"overrides": {"gain": 1.0}}}
    write_command_ablation(tmp_path, arms=fixed)
    assert "2 complete" in driver.run()


@pytest.mark.slow
def test_a_failed_cell_is_retried(tmp_path: Path) -> None:
    """The flag fails at a step that short runs do not reach."""
    arms = {"base": {}, "x": {"overrides": {"gain": 1.0, "flags": ["--fail-at=9"]}}}
    driver = CommandDriver(tmp_path, "seeds=1", "steps=20", "seconds=0.1", arms=arms)
    output = driver.run(status=1)
    run = driver.runs()["x/0"]
    assert "CommandError: the program ended with status 3: something is wrong" in output
    assert "something is wrong" in driver.run("x/0", command="logs")
    assert len(list_starts(run)) == 1
    driver.run("x/0", command="retry", status=1)
    assert len(list_starts(run)) == 2


@pytest.mark.slow
def test_a_source_that_is_edited_during_the_sweep_ends_it(tmp_path: Path) -> None:
    driver = CommandDriver(tmp_path, "seeds=5", "steps=20", "seconds=0.05")
    controller = driver.start()
    wait_for(lambda: list((tmp_path / "store" / "sweeps").glob("*/plan.json")))
    wait_for(lambda: list_starts(driver.runs()["base/0"]))
    with open(tmp_path / "ablation" / "program.py", "a") as stream:
        stream.write("# edited\n")
    output, _ = controller.communicate(timeout=600)
    assert controller.returncode == 2, output
    assert "command.sources changed since the plan (program.py)" in output
    assert sum(bool(run.list_attempts()) for run in driver.runs().values()) <= 2


def test_commands_that_know_our_training_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*write_command_ablation(tmp_path), f"store={tmp_path / 'store'}")
    assert execute("run", "--cfg=job", "gain/1", *words) == 0
    output = capsys.readouterr().out
    assert "gain: 1.0" in output
    assert "--seed 1" in output
    assert execute("tune", "n_trials=2", "space=optimizer", *words) == 2
    assert "cannot set the values of a command" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_a_retry_of_adaptive_seeds_goes_on_to_later_rounds(tmp_path: Path) -> None:
    """An effect that is smaller than the resolution of the score stays undecided."""
    arms = {"base": {}, "x": {"overrides": {"gain": 0.001}}}
    driver = CommandDriver(tmp_path, "seeds=adaptive", "max_seeds=5", arms=arms)
    resolved_plan = parse_request(list(driver.words)).build_plan()
    cell = find_cell(resolved_plan.plan, "x/1")
    run = driver.store.get_run(cell.run_id)
    run.write_spec(resolved_plan.specs[cell.run_id])
    attempt = run.claim_attempt(1, process.make_claim_record({}))
    assert attempt is not None
    attempt.write_end("failed", "the node had no disk left")
    output = driver.run(status=1)
    assert "the node had no disk left" in output
    assert "adaptive seeds: no further round, since cells have no result" in output
    assert len(driver.runs()) == 8, "nothing is bought while a cell has failed"
    output = driver.run(command="retry")
    assert "next round: 2 cells of 2 arms" in output
    assert "adaptive seeds: the contrasts that are undecided have max_seeds; undecided: x" in output
    assert {name: s["status"] for name, s in driver.states().items()} == dict.fromkeys(
        [f"{arm}/{seed}" for seed in range(5) for arm in arms], "complete"
    )
