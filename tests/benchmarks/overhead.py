"""The cost of a sweep beside its cells: the front door over many cells, and no-op jobs on Slurm.

The peer of a sweep of no-op cells is a bare `sbatch --array` of the same no-op, which writes the
same files without a sweep. Both run in turn on the same private cluster, one cell per job; nothing
is subtracted. An array that only starts Python is measured too. The front door has no peer (but see
`front_door`).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from sweeps.monitor import status
from tests.benchmarks import stores
from tests.benchmarks.table import Options, Table
from tests.helpers import ROOT, trivial_sweep
from tests.helpers.slurm_cluster import INSTALL, Cluster, find_missing_programs
from uniclip.store import RunStatus, Store

BARE_CELL = f"{sys.executable} -m tests.helpers.trivial_cell {{store}} $SLURM_ARRAY_TASK_ID"
BARE_PYTHON = f"{sys.executable} -c pass"
ROUNDS = 3
STATUSES = (RunStatus.PENDING, RunStatus.COMPLETE, RunStatus.RUNNING, RunStatus.INTERRUPTED)


def run(options: Options) -> Table:
    """Return the table of this subject."""
    many_cells, cells, jobs = (200, 100, 8) if options.quick else (10_000, 1_000, 200)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = [*measure_front_door(folder, many_cells, cells)]
        if find_missing_programs():
            return Table("overhead", rows, {"no-op jobs": f"not measured: {INSTALL}"})
        rows.append(_measure_no_ops(folder, jobs, 1 if options.quick else ROUNDS))
    return Table("overhead", rows)


def measure_front_door(folder: Path, many_cells: int, cells: int) -> Iterator[dict[str, Any]]:
    """Yield rows for the commands over cells of the main ablation, and for their file
    operations."""
    for num_cells, command, description, limit in (
        (many_cells, "status", "python sweep.py status of {} complete cells", 3.0),
        (cells, "plan", "python sweep.py plan of {} cells", 2.0),
        (cells, "run", "python sweep.py over {} complete cells: nothing to do", 3.0),
    ):
        store = folder / command
        overrides, resolved = stores.plan_components(store, num_cells)
        if command != "plan":
            stores.write_complete_cells(Store(store), resolved)
            stores.mark_as_reported(Store(store), resolved.plan)
        seconds = _time_fastest(partial(_run_sweep_command, command, *overrides))
        what = description.format(len(resolved.plan.cells))
        yield {"what": what, "seconds": seconds, "at most": limit}
    yield from _count_status_operations(folder, cells)


def _count_status_operations(folder: Path, num_cells: int) -> Iterator[dict[str, Any]]:
    """Yield the number of file operations of `status`, by the status of the cells."""
    for run_status in STATUSES:
        store = Store(folder / f"operations-{run_status}")
        resolved = trivial_sweep.planned(num_cells, 0.0)
        if run_status is RunStatus.COMPLETE:
            stores.write_complete_cells(store, resolved)
        elif run_status is not RunStatus.PENDING:
            stores.write_started_cells(store, resolved, run_status)
        with _record_file_operations() as operations:
            rows = status.build_rows(store, resolved.plan)
        assert {row.status for row in rows} == {run_status}
        what = f"status: file operations per cell, {num_cells} {run_status} cells"
        # The last loss of a running cell is read from its metrics.
        limit = 4 if run_status is RunStatus.RUNNING else 3
        yield {"what": what, "file operations": len(operations) / num_cells, "at most": limit}


def _measure_no_ops(folder: Path, jobs: int, rounds: int) -> dict[str, Any]:
    cluster = Cluster(folder / "cluster").start()
    try:
        seconds: dict[str, list[float]] = {"uniclip": [], "peer": [], "python": []}
        for number in range(rounds):
            bare_cell = BARE_CELL.format(store=folder / f"bare{number}")
            actions = {
                "uniclip": partial(_run_sweep, cluster, folder / f"sweep{number}", jobs),
                "peer": partial(_run_array, cluster, bare_cell, jobs),
                "python": partial(_run_array, cluster, BARE_PYTHON, jobs),
            }
            for name, action in actions.items():
                start = time.perf_counter()
                action()
                seconds[name].append(time.perf_counter() - start)
            assert len(list((folder / f"bare{number}").glob("runs/*/outcome.json"))) == jobs
    finally:
        cluster.close()
    median = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "what": f"{jobs} no-op cells on Slurm (peer: bare sbatch --array of the same no-op)",
        "seconds": median["uniclip"],
        "peer, seconds": median["peer"],
        "uniclip / peer": median["uniclip"] / median["peer"],
        "at most": 1.5,
        "python -c pass, seconds": median["python"],
    }


def _run_array(cluster: Cluster, command: str, jobs: int) -> None:
    """Submit an array and wait for its last job (`sbatch --wait` polls only every 16 seconds)."""
    options = ("--output=/dev/null", f"--array=0-{jobs - 1}")
    cluster.sbatch(f"srun env PYTHONPATH={ROOT} {command}", *options)
    while cluster.active():
        time.sleep(0.5)


def _run_sweep(cluster: Cluster, store: Path, cells: int) -> None:
    """Run a sweep of no-op cells to its end."""
    command = [sys.executable, "-m", "tests.helpers.trivial_sweep", str(store), str(cells), "0"]
    environment = {**cluster.environment, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def _run_sweep_command(*words: str) -> None:
    command = [sys.executable, str(ROOT / "sweep.py"), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _time_fastest(action: Callable[[], object]) -> float:
    """Return the seconds of the fastest of `ROUNDS` calls."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@contextmanager
def _record_file_operations() -> Iterator[list[str]]:
    """Record the paths that are opened, listed or passed to `os.stat` inside the block.

    Paths below /proc do not count: the kernel answers them from memory, and only for cells of this
    machine.
    """
    paths: list[str] = []
    counted_events = {"open", "os.listdir", "os.scandir"}
    is_active = [True]  # an audit hook cannot be removed

    def record(path: Any) -> None:
        if not str(path).startswith("/proc/"):
            paths.append(str(path))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if is_active[0] and event in counted_events:
            record(arguments[0])

    sys.addaudithook(hook)
    real_stat = os.stat
    with mock.patch("os.stat", lambda *a, **k: (record(a[0]), real_stat(*a, **k))[1]):
        yield paths
    is_active[0] = False
