"""What a sweep costs beside its cells: the front door over many of them, and no-op jobs on Slurm.

The peer of a sweep of no-op cells is a bare `sbatch --array` of the same no-op, which publishes the
same files with no sweep around it, on the same private cluster, in turn with ours; nothing is
packed and nothing subtracted. Beside it stands an array that only starts Python. The front door has
no peer.
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

from ablations.plan.plan import build_plan
from analysis.report import build
from sweeps.claims import process
from sweeps.config import request
from sweeps.monitor import status
from tests.benchmarks.table import Options, Table
from tests.helpers import (
    ROOT,
    trivial_cell,
    trivial_sweep,
)
from tests.helpers.slurm_cluster import INSTALL, Cluster, lacking
from uniclip.io.atomic import atomic_write
from uniclip.store import AttemptFolder, EndReason, Plan, RunFolder, Store
from uniclip.store.json_io import to_json_bytes

SAME = f"{sys.executable} -m tests.helpers.trivial_cell {{store}} $SLURM_ARRAY_TASK_ID"
NOTHING = f"{sys.executable} -c pass"
ROUNDS = 3


def run(options: Options) -> Table:
    """The table of this subject."""
    many, some, jobs = (200, 100, 8) if options.quick else (10_000, 1_000, 200)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = [*_front_door(folder, many, some)]
        if lacking():
            return Table("overhead", rows, {"no-op jobs": f"not measured: {INSTALL}"})
        rows.append(_no_ops(folder, jobs, 1 if options.quick else ROUNDS))
    return Table("overhead", rows)


def _front_door(folder: Path, many: int, some: int) -> Iterator[dict[str, Any]]:
    """The verbs as a person calls them, over cells of the main ablation, and what a look costs."""
    arms = len(_asked(folder, 1)[1].plan.cells)
    for cells, verb, what, limit in (
        (many, "status", "python sweep.py status of {} complete cells", 3.0),
        (some, "plan", "python sweep.py plan of {} cells", 2.0),
        (some, "run", "python sweep.py over {} complete cells: nothing to do", 3.0),
    ):
        place = folder / verb
        words, planned = _asked(place, -(-cells // arms))
        if verb != "plan":
            _finish(Store(place), planned)
            _reported(Store(place), planned.plan)
        seconds = _fastest(partial(_sweep, verb, *words))
        named = what.format(len(planned.plan.cells))
        yield {"what": named, "seconds": seconds, "at most": limit}
    yield from _looks(folder, some)


def _looks(folder: Path, some: int) -> Iterator[dict[str, Any]]:
    """File operations of `status`, by the state of the cells."""
    for state in ("pending", "complete", "running", "interrupted"):
        store, planned = Store(folder / f"look-{state}"), trivial_sweep.planned(some, 0.0)
        if state == "complete":
            _finish(store, planned)
        elif state != "pending":
            _begin(store, planned, state)
        with _counted() as calls:
            found = status.build_rows(store, planned.plan)
        assert {row.status for row in found} == {state}
        named = f"status: file operations a cell of {some} {state} ones"
        yield {"what": named, "file operations": len(calls) / some, "at most": 3}


def _asked(place: Path, seeds: int) -> tuple[list[str], Any]:
    """The words for the main ablation with so many seeds, and its plan."""
    words = ["ablation=components", f"seeds={seeds}", f"store={place}"]
    return words, build_plan(request.parse_request(words).plan_request)


def _no_ops(folder: Path, jobs: int, rounds: int) -> dict[str, Any]:
    cluster = Cluster(folder / "cluster").start()
    try:
        seconds: dict[str, list[float]] = {"ours": [], "same": [], "nothing": []}
        for number in range(rounds):
            same = SAME.format(store=folder / f"bare{number}")
            acts = {
                "ours": partial(_controller, cluster, folder / f"sweep{number}", jobs),
                "same": partial(_array, cluster, same, jobs),
                "nothing": partial(_array, cluster, NOTHING, jobs),
            }
            for name, act in acts.items():
                begun = time.perf_counter()
                act()
                seconds[name].append(time.perf_counter() - begun)
            assert len(list((folder / f"bare{number}").glob("runs/*/outcome.json"))) == jobs
    finally:
        cluster.close()
    median = {name: statistics.median(found) for name, found in seconds.items()}
    return {
        "what": f"{jobs} no-op cells on Slurm (peer: bare sbatch --array of the same no-op)",
        "seconds": median["ours"],
        "peer, seconds": median["same"],
        "ours / peer": median["ours"] / median["same"],
        "at most": 1.5,
        "python -c pass, seconds": median["nothing"],
    }


def _array(cluster: Cluster, command: str, jobs: int) -> None:
    """From sbatch to the end of the last job (`sbatch --wait` looks only every sixteen seconds)."""
    where = ("--output=/dev/null", f"--array=0-{jobs - 1}")
    path = f"PYTHONPATH={ROOT}"
    cluster.sbatch(f"srun env {path} {command}", *where)
    while cluster.active():
        time.sleep(0.5)


def _controller(cluster: Cluster, store: Path, cells: int) -> None:
    words = [sys.executable, "-m", "tests.helpers.trivial_sweep", str(store), str(cells), "0"]
    environment = {**cluster.environment, "PYTHONPATH": str(ROOT)}
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)


def _finish(store: Store, planned: Any) -> None:
    """Cells as they are when they are done (without the waits for the disk)."""
    wanted = planned.plan.wanted()
    with mock.patch("os.fsync"):
        for run_, attempt in _claimed(store, planned):
            trivial_cell.execute(run_, {}, attempt, wanted[run_.id], lambda: False)
            attempt.write_end("trained")


def _begin(store: Store, planned: Any, state: str) -> None:
    """Cells as they are when they run, or were interrupted."""
    with mock.patch("os.fsync"):
        for _, attempt in _claimed(store, planned):
            attempt.write_heartbeat(step=1, total_steps=2, steps_per_second=1.0, phase="training")
            if state == "interrupted":
                attempt.write_end("interrupted", reason=EndReason.PREEMPTED)


def _claimed(store: Store, planned: Any) -> Iterator[tuple[RunFolder, AttemptFolder]]:
    mine = process.make_claim_record({})
    store.get_sweep(planned.plan.sweep).write_plan(planned.plan)
    for cell in planned.plan.cells:
        run_ = store.get_run(cell.run)
        run_.write_spec(planned.specs[cell.run])
        attempt = run_.claim_attempt(1, mine)
        assert attempt is not None
        yield run_, attempt


def _reported(store: Store, plan: Plan) -> None:
    """As if the report stood there: that of cells without a training cannot be built."""
    stamp = {"inputs": build.compute_input_digest(store, plan), "files": [], "headline": []}
    atomic_write(store.report_path(plan.sweep_id) / build.MANIFEST_NAME, to_json_bytes(stamp))
    atomic_write(store.get_sweep(plan.sweep_id).cost_report_path, b"")


def _sweep(*words: str) -> None:
    command = [sys.executable, str(ROOT / "sweep.py"), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _fastest(act: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


@contextmanager
def _counted() -> Iterator[list[str]]:
    """Which files are opened, looked at or listed meanwhile (/proc holds none: the kernel answers,
    and only for cells of this very machine)."""
    calls: list[str] = []
    wanted = {"open", "os.listdir", "os.scandir"}
    on = [True]

    def count(path: Any) -> None:
        if not str(path).startswith("/proc/"):
            calls.append(str(path))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if on[0] and event in wanted:
            count(arguments[0])

    sys.addaudithook(hook)
    real = os.stat
    with mock.patch("os.stat", lambda *a, **k: (count(a[0]), real(*a, **k))[1]):
        yield calls
    on[0] = False
