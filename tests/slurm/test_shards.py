"""Shards on two nodes, of which one dies: the tables of one machine, byte for byte."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.helpers.command_line import Driver, assert_finished_once, copy_audit
from tests.helpers.shards import write_shards
from tests.helpers.slurm_cluster import Cluster
from tests.slurm.test_disturbances import finish, job_of, node_of, under_way

pytestmark = pytest.mark.soak
WORDS = (
    "ablation=components",
    "data=webdataset",
    "data.image_size=32",
    "data.validation_fraction=0.1",
    "data.test_fraction=0.1",
    "budget=smoke",
    "arms=[full,clip]",
    "seeds=1",
    "train.batch_size=16",
    "train.steps=500",
    "train.validate_every=100",
    "runtime.checkpoint_seconds=0.1",
)


@pytest.fixture
def sweep_words(tmp_path: Path) -> tuple[str, ...]:
    """The command line of both sweeps, over the same shards."""
    return (*WORDS, f"data.path={write_shards(tmp_path / 'shards', 400, 4)}")


def make_driver(folder: Path, *words: str) -> Driver:
    driver = Driver(folder)
    driver.words = (*words, f"store={folder}")
    return driver


def parent_pids(processes: list[psutil.Process]) -> set[int]:
    """Return the pids of the parents of the processes that still exist."""
    pids = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            pids.add(process.ppid())
    return pids


def kill_node(cluster: Cluster, driver: Driver, job: str) -> str:
    """Kill a job and all daemons of Slurm on its node, as a loss of power does; return the node."""
    worker = next(pid for pid in driver.workers() if job_of(driver, pid) == job)
    # An element of an array has another id in the environment of its processes.
    job_id = psutil.Process(worker).environ()["SLURM_JOB_ID"]
    processes = [psutil.Process(pid) for pid in cluster.processes(job_id)]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    node = node_of(cluster, job)
    step_daemons = [pid for pid in cluster.keepers() if pid in parent_pids(processes)]
    cluster.stop_daemon(node)
    for pid in (*step_daemons, *(process.pid for process in processes)):
        cluster.kill_pid(pid)
    cluster.set_down(node)
    return node


def test_a_node_dies(cluster: Cluster, tmp_path: Path, sweep_words: tuple[str, ...]) -> None:
    """Two cells train on two nodes; what ran on the dead one continues on the other."""
    local = make_driver(tmp_path / "local", *sweep_words)
    local.run()
    remote = make_driver(
        tmp_path / "remote", *sweep_words, "launcher=slurm", "launcher.cells_per_job=1"
    )
    copy_audit(remote, local).run()
    node = kill_node(cluster, remote, under_way(remote))
    try:
        finish(cluster)
    finally:
        cluster.start_daemon(node)
        cluster.resume(node)
    assert remote.weights() == local.weights()
    assert remote.tables() == local.tables()
    assert_finished_once(remote)
    assert any(len(kinds) > 1 for kinds in remote.endings().values()), "a cell was interrupted"
    report = remote.store.report_path(remote.plan().sweep_id)
    notebook = json.loads((report / "report.ipynb").read_text())
    code_cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code_cells
    assert all(cell["execution_count"] for cell in code_cells)
