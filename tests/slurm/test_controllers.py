"""Many controllers of one store, killed at random: every cell is executed exactly once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.helpers.slurm_cluster import Cluster, require_slurm
from uniclip.io.atomic import read_jsonl
from uniclip.store import Store

pytestmark = pytest.mark.soak
SOAK = "UNICLIP_SOAK" in os.environ
CELLS, CONTROLLERS, KILLS = (500, 8, 60) if SOAK else (50, 4, 10)


def start(
    cluster: Cluster, store: Path, *words: str, cells: int = CELLS
) -> subprocess.Popen[bytes]:
    """Start a controller, as one of several users would."""
    command = [sys.executable, "-m", "tests.helpers.trivial_sweep", str(store), str(cells), *words]
    environment = {**cluster.environment, "PYTHONPATH": str(ROOT)}
    environment["PATH"] = os.environ["PATH"]
    with open(store.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


@pytest.fixture
def controllers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Controllers, which are killed at the end."""
    controllers: list[subprocess.Popen[bytes]] = []
    yield controllers
    for controller in controllers:
        controller.kill()
        controller.wait()


def finished(store: Store) -> dict[str, int]:
    """Run id -> number of attempts that finished."""
    return {
        run.id: sum(
            any(e["event"] == "finished" for e in read_jsonl(run.get_attempt(n).events_path))
            for n in run.list_attempts()
        )
        for run in store.iter_runs()
    }


def read_log(store: Path) -> str:
    return store.with_suffix(".log").read_text()[-3000:]


def all_done(store: Store, cells: int) -> bool:
    runs = list(store.iter_runs())
    return len(runs) == cells and all(run.read_outcome() for run in runs)


def test_controllers_and_workers_killed_at_random(
    cluster: Cluster, tmp_path: Path, controllers: list[subprocess.Popen[bytes]]
) -> None:
    store_root, rng, kills = tmp_path / "store", random.Random(0), 0
    deadline = time.monotonic() + 3000
    controllers += [start(cluster, store_root, "0.5") for _ in range(CONTROLLERS)]
    while not all_done(Store(store_root), CELLS):
        assert time.monotonic() < deadline, read_log(store_root)
        time.sleep(rng.uniform(0.05, 0.4))
        if kills < KILLS:
            kills += kill_one(cluster, controllers, rng)
        for i, controller in enumerate(controllers):  # killed controllers are started again
            if controller.poll() not in (None, 0):
                assert controller.returncode == -signal.SIGKILL, read_log(store_root)
                controllers[i] = start(cluster, store_root, "0.5")
    for controller in controllers:
        controller.wait(timeout=300)
    times = finished(Store(store_root))
    assert kills > KILLS / 2
    assert len(times) == CELLS
    assert max(times.values()) == 1, {r: n for r, n in times.items() if n > 1}


def kill_one(
    cluster: Cluster, controllers: list[subprocess.Popen[bytes]], rng: random.Random
) -> int:
    """Kill a random controller or process of a job; return how many were killed."""
    live = [controller.pid for controller in controllers if controller.poll() is None]
    if rng.random() < 0.5:
        jobs = cluster.command("squeue", "-h", "-r", "-t", "RUNNING", "-o", "%A").split()
        live = [pid for job in jobs for pid in cluster.processes(job)]
    if live:
        cluster.kill_pid(rng.choice(live))
    return bool(live)


def test_a_controller_killed_between_sbatch_and_its_record(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs are held and have no record; the next controller cancels them."""
    store_root = tmp_path / "store"
    deadly = f'REAL "$@" > {tmp_path}/job\nkill -9 $PPID\n'
    with monkeypatch.context() as patch:
        patch.setenv("PATH", cluster.trap(tmp_path / "bin", "sbatch", deadly))
        assert start(cluster, store_root, cells=4).wait(timeout=120) == -signal.SIGKILL
    orphan = (tmp_path / "job").read_text().split()[-1]
    assert cluster.job(f"{orphan}_0")["Reason"] == "JobHeldUser"
    assert start(cluster, store_root, cells=4).wait(timeout=300) == 0, read_log(store_root)
    assert cluster.job(orphan)["JobState"] == "CANCELLED"
    assert finished(Store(store_root)) == dict.fromkeys(finished(Store(store_root)), 1)
    assert len(finished(Store(store_root))) == 4


def test_a_controller_killed_between_its_record_and_the_release(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs are held and recorded: the next controller releases them and submits nothing."""
    store_root = tmp_path / "store"
    deadly = '[ "$1" = release ] && kill -9 $PPID && exit\nexec REAL "$@"\n'
    with monkeypatch.context() as patch:
        patch.setenv("PATH", cluster.trap(tmp_path / "bin", "scontrol", deadly))
        assert start(cluster, store_root, cells=4).wait(timeout=120) == -signal.SIGKILL
    held_jobs = cluster.squeue()
    assert start(cluster, store_root, cells=4).wait(timeout=300) == 0, read_log(store_root)
    assert set(cluster.squeue()) == set(held_jobs), "no second array"
    assert all_done(Store(store_root), 4)


def test_controllers_killed_at_random_moments_submit_every_cell_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    store_root, rng = tmp_path / "store", random.Random(1)
    for _ in range(10):
        controller = start(cluster, store_root, cells=12)
        time.sleep(rng.uniform(0.3, 3))
        controller.kill()
        controller.wait()
    assert start(cluster, store_root, cells=12).wait(timeout=300) == 0, read_log(store_root)
    assert all_done(Store(store_root), 12)
    assert set(finished(Store(store_root)).values()) == {1}
    assert not cluster.active(), "no job is held"


def test_arrays_are_as_long_as_the_cluster_has_them(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Slurm limits the index of an array task (MaxArraySize)."""
    require_slurm()
    folder = tmp_path_factory.mktemp("small")  # sockets have short names
    small = Cluster(folder / "cluster", MaxArraySize=4).start()
    try:
        store_root = folder / "store"
        assert start(small, store_root, cells=14).wait(timeout=300) == 0, read_log(store_root)
        arrays = {job.split("_")[0] for job in small.squeue() if "_" in job}
        assert len(arrays) == 4
        assert all_done(Store(store_root), 14)
    finally:
        small.close()


REFUSING = """\
# sbatch of a cluster where a user may have six jobs at a time.
has=$(squeue --me -h -r -t PENDING,RUNNING,COMPLETING | wc -l)
wants=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
if [ $((has + ${wants:-0} + 1)) -gt 6 ]; then
    echo "sbatch: error: AssocMaxSubmitJobLimit" >&2
    echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy" >&2
    exit 1
fi
exec REAL "$@"
"""


def test_cells_beyond_a_submit_limit_are_postponed(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test cluster has no accounting; this sbatch reports its limit as Slurm would."""
    store_root = tmp_path / "store"
    monkeypatch.setenv("PATH", cluster.trap(tmp_path / "bin", "sbatch", REFUSING))
    assert start(cluster, store_root, "1.0", cells=20).wait(timeout=300) == 0, read_log(store_root)
    assert "cells are postponed" in read_log(store_root)
    assert all_done(Store(store_root), 20)
    assert set(finished(Store(store_root)).values()) == {1}


def test_jobs_that_cannot_start_python_are_not_submitted_for_ever(
    cluster: Cluster, tmp_path: Path
) -> None:
    store_root = tmp_path / "store"
    assert start(cluster, store_root, "0", "python=/bin/false", cells=2).wait(timeout=300) == 1
    assert "jobs end before they claim a run" in read_log(store_root)
    intents = Store(store_root).get_sweep("trivial-smoke-00000000").read_intents()
    tries = Counter(run for i in intents if i.kind == "run" for e in i.array_tasks for run in e)
    assert set(tries.values()) == {3}, "together or in separate jobs"
