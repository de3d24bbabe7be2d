"""The commands that a user waits for, side by side with another checkout, as ratios.

`status` over 10,000 complete cells, `plan` of 1,000 cells and the report of 440 cells run in turn
in this checkout and in the one that `--baseline PATH` names. Each checkout writes its stores with
its own code and runs its own commands; both use this Python. A ratio is the baseline's time divided
by this checkout's, each the fastest of three rounds. Without `--baseline` only this checkout is
measured.

    python -m tests.benchmarks front_door --baseline ../before
    python -m tests.benchmarks.front_door FOLDER STATUS_CELLS PLAN_CELLS REPORT_SEEDS

The second form writes the stores below FOLDER and prints the commands as JSON; the baseline runs it
too, or `baseline_stores.py` if it has no such module.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.table import Options, Table
from tests.helpers import ROOT

ROUNDS = 3
SIZES = (10_000, 1_000, 40)
"""Cells of `status`, cells of `plan`, and seeds of the report's 11 arms."""
QUICK_SIZES = (22, 22, 2)
REPORT = (
    "import sys; from analysis.report.build import build_report; from uniclip.store import Store; "
    "build_report(Store(sys.argv[1]), sys.argv[2], force=True)"
)

Commands = dict[str, list[str]]
"""What is measured -> its command line."""


def run(options: Options) -> Table:
    """Measure the commands, in turn with those of the baseline if there is one."""
    sizes = QUICK_SIZES if options.quick else SIZES
    rounds = 1 if options.quick else ROUNDS
    checkouts = {"uniclip": ROOT}
    if options.baseline is not None:
        checkouts["baseline"] = options.baseline.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        commands = {
            name: write_stores(checkout, Path(scratch) / name, sizes)
            for name, checkout in checkouts.items()
        }
        rows = [
            measure(what, {name: commands[name][what] for name in checkouts}, checkouts, rounds)
            for what in commands["uniclip"]
        ]
    notes = {} if options.baseline else {"baseline": "not measured: name one with --baseline PATH"}
    return Table("front_door", rows, notes)


def write_stores(checkout: Path, folder: Path, sizes: tuple[int, int, int]) -> Commands:
    """Have a checkout write its stores below `folder`; return its commands."""
    folder.mkdir()
    module = ["-m", "tests.benchmarks.front_door"]
    if not (checkout / "tests" / "benchmarks" / "front_door.py").exists():
        module = [str(Path(__file__).with_name("baseline_stores.py"))]
    command = [sys.executable, *module, str(folder), *map(str, sizes)]
    output = subprocess.run(
        command, cwd=checkout, env=environment(checkout), check=True, stdout=subprocess.PIPE
    ).stdout
    commands: Commands = json.loads(output.splitlines()[-1])
    return commands


def measure(
    what: str, commands: Commands, checkouts: dict[str, Path], rounds: int
) -> dict[str, Any]:
    """Return one row: the fastest of the rounds by checkout, in turn, and their ratio."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, *command],
                cwd=checkouts[name],
                env=environment(checkouts[name]),
                check=True,
                stdout=subprocess.DEVNULL,
            )
            seconds[name].append(time.perf_counter() - start)
    row: dict[str, Any] = {"what": what, "uniclip, seconds": min(seconds["uniclip"])}
    if "baseline" in seconds:
        row["baseline, seconds"] = min(seconds["baseline"])
        row["baseline / uniclip"] = row["baseline, seconds"] / row["uniclip, seconds"]
        row["at least"] = 1.5
    return row


def environment(checkout: Path) -> dict[str, str]:
    """Return an environment in which the packages of `checkout` are imported."""
    return {**os.environ, "PYTHONPATH": str(checkout)}


def prepare(folder: Path, status_cells: int, plan_cells: int, report_seeds: int) -> Commands:
    """Write the stores of this checkout below `folder`; return what is measured."""
    from tests.benchmarks import stores
    from tests.helpers import fake_sweep
    from uniclip.store import Store

    status_overrides, resolved = stores.plan_components(folder / "status", status_cells)
    stores.write_complete_cells(Store(folder / "status"), resolved)
    plan_overrides, planned = stores.plan_components(folder / "plan", plan_cells)
    study = fake_sweep.Truth(seeds=tuple(range(report_seeds)))
    store, sweep_id = fake_sweep.make(folder / "report", study)
    report_plan = store.get_sweep(sweep_id).read_plan()
    assert report_plan is not None
    return {
        f"status of {len(resolved.plan.cells)} cells": ["sweep.py", "status", *status_overrides],
        f"plan of {len(planned.plan.cells)} cells": ["sweep.py", "plan", *plan_overrides],
        f"report of {len(report_plan.cells)} cells": ["-c", REPORT, str(store.root), sweep_id],
    }


if __name__ == "__main__":
    print(json.dumps(prepare(Path(sys.argv[1]), *map(int, sys.argv[2:]))))
