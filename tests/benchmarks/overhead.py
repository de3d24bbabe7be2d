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

SLURM_TESTS = Path(__file__).parents[1] / "slurm"
sys.path[:0] = [str(SLURM_TESTS), str(SLURM_TESTS.parents[1])]

import trivial  # noqa: E402
import trivial_cell  # noqa: E402
from cluster import INSTALL, Cluster, lacking  # noqa: E402
from table import Options, Table  # noqa: E402

from sweeps import process, status  # noqa: E402
from uniclip.store import Store  # noqa: E402

SAME = f"{sys.executable} {SLURM_TESTS / 'trivial_cell.py'} {{store}} $SLURM_ARRAY_TASK_ID"
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
    store = Store(folder / "done")
    planned = trivial.planned(many, 0.0)
    _finish(store, planned)
    plan = planned.plan
    with _counted() as calls:
        status.rows(store, plan)
    yield {
        "what": f"status of {many} complete cells",
        "seconds": _fastest(lambda: _printed(status.rows(store, plan))),
        "file operations a cell": len(calls) / many,
    }
    words = [f"seeds={some // 11}", f"store={folder / 'none'}", "ablation=components"]
    seconds = _fastest(lambda: _sweep("plan", *words))
    yield {"what": f"python sweep.py plan of {some // 11 * 11} cells", "seconds": seconds}
    done = Store(folder / "some")
    _finish(done, trivial.planned(some, 0.0))
    seconds = _fastest(lambda: trivial.conduct(done, some, 0.0, []))
    yield {"what": f"nothing to do over {some} complete cells", "seconds": seconds}


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
        "python -c pass, seconds": median["nothing"],
    }


def _array(cluster: Cluster, command: str, jobs: int) -> None:
    """From sbatch to the end of the last job (`sbatch --wait` looks only every sixteen seconds)."""
    where = ("--output=/dev/null", f"--array=0-{jobs - 1}")
    path = f"PYTHONPATH={SLURM_TESTS}:{SLURM_TESTS.parents[1]}"
    cluster.sbatch(f"srun env {path} {command}", *where)
    while cluster.active():
        time.sleep(0.5)


def _controller(cluster: Cluster, store: Path, cells: int) -> None:
    words = [sys.executable, str(SLURM_TESTS / "trivial.py"), str(store), str(cells), "0"]
    path = f"{SLURM_TESTS}:{SLURM_TESTS.parents[1]}"
    environment = {**cluster.environment, "PYTHONPATH": path}
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)


def _finish(store: Store, planned: Any) -> None:
    """Cells as they are when they are done (without the waits for the disk)."""
    with mock.patch("os.fsync"):
        mine = process.owner({})
        for cell in planned.plan.cells:
            run_ = store.run(cell.run)
            run_.publish_spec(planned.specs[cell.run])
            attempt = run_.claim(1, mine)
            assert attempt is not None
            trivial_cell.execute(run_, {}, attempt, trivial_cell.EVALUATIONS, lambda: False)
            attempt.end("trained")
        store.sweep(planned.plan.sweep).write_plan(planned.plan)


def _sweep(*words: str) -> None:
    command = [sys.executable, str(SLURM_TESTS.parents[1] / "sweep.py"), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _printed(rows: Any) -> None:
    from rich.console import Console

    from sweeps.display import table

    with open(os.devnull, "w") as nowhere:
        Console(file=nowhere, width=200).print(table(rows))


def _fastest(act: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


@contextmanager
def _counted() -> Iterator[list[str]]:
    """Which files are opened, looked at or listed meanwhile."""
    calls: list[str] = []
    wanted = {"open", "os.listdir", "os.scandir"}
    on = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if on[0] and event in wanted:
            calls.append(event)

    sys.addaudithook(hook)
    real = os.stat
    with mock.patch("os.stat", lambda *a, **k: (calls.append("stat"), real(*a, **k))[1]):
        yield calls
    on[0] = False
