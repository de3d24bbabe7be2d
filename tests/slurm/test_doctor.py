"""Doctor before a real Slurm: each misconfiguration is planted, and found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.doctor import slurm_cluster as checks
from sweeps.doctor import test_job
from sweeps.doctor.cluster_info import JobRequirements
from tests.helpers import ROOT
from tests.helpers.slurm_cluster import Cluster, require_slurm


def levels(need: JobRequirements) -> dict[str, str]:
    """What is not well, by check."""
    return {f.check: f.level for f in checks.check_cluster(need) if f.level != "ok"}


def doctor(store: Path, *words: str, status: int) -> dict[str, tuple[str, str]]:
    """Check -> level and words, from the command line."""
    command = [sys.executable, str(ROOT / "sweep.py"), "doctor", "--json", "launcher=slurm"]
    done = subprocess.run(
        [*command, f"store={store}", *words],
        capture_output=True,
        text=True,
        cwd=store.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == status, done.stdout + done.stderr
    return {f["check"]: (f["level"], f["message"]) for f in json.loads(done.stdout)}


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster on which everything that can be set wrongly is."""
    require_slurm()
    other = Cluster(
        tmp_path / "broken",
        grace=0,
        limit="30",
        JobRequeue=0,
        MaxArraySize=8,
        MaxJobCount=20,
        MinJobAge=2,
    ).start()
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, other.environment[name])
    yield other
    other.close()


def test_a_good_cluster_has_nothing_wrong(cluster: Cluster) -> None:
    assert levels(JobRequirements(sbatch_options=("--gpus-per-node=2",))) == {}
    assert (
        levels(JobRequirements(partition="urgent", sbatch_options=("--partition=urgent",), nodes=2))
        == {}
    )


def test_every_setting_that_is_wrong_is_found(broken: Cluster) -> None:
    assert levels(JobRequirements(num_jobs=25, timeout_min=240, sbatch_options=("--time=10",))) == {
        "time limit": "problem",
        "array limit": "warning",
        "job limit": "warning",
        "requeue": "warning",
        "preemption": "warning",
        "job records": "warning",
    }


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        ({"PreemptType": "preempt/none", "PreemptMode": "OFF"}, None),
        ({"PreemptMode": "CANCEL"}, "warning"),
    ],
)
def test_how_jobs_are_preempted_is_seen(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    level: str | None,
) -> None:
    require_slurm()
    other = Cluster(tmp_path / "other", **settings).start()
    try:
        monkeypatch.setenv("SLURM_CONF", str(other.conf))
        assert levels(JobRequirements()).get("preemption") == level
    finally:
        other.close()


def test_what_cannot_be_had_is_found(cluster: Cluster) -> None:
    assert levels(JobRequirements(partition="gpus")) == {"partition": "problem"}
    assert levels(JobRequirements(sbatch_options=("--gpus-per-node=3",))) == {
        "node size": "problem"
    }
    assert levels(JobRequirements(sbatch_options=("--exclude=" + ",".join(cluster.nodes),))) == {
        "sbatch --test-only": "problem"
    }
    assert levels(JobRequirements(nodes=3)) == {"nodes": "problem"}
    cluster.set_down(cluster.nodes[1])
    nodes = JobRequirements(nodes=2, sbatch_options=("--nodes=2",))
    assert levels(nodes) == {"nodes": "warning"}


def test_a_controller_that_does_not_answer_is_found(
    cluster: Cluster,
) -> None:
    cluster.stop_daemon("slurmctld")
    try:
        assert levels(JobRequirements()) == {"Slurm": "problem"}
    finally:
        cluster.start_daemon("slurmctld")


def test_a_node_is_looked_at_by_a_job(cluster: Cluster, tmp_path: Path) -> None:
    found = doctor(tmp_path / "store", "launcher.timeout_min=10", "--submit", status=0)
    node = next(n for n in cluster.nodes if f"torch on {n}" in found)
    for check in (
        "shared folder",
        "clock",
        "requeue granted",
        f"exclusive link on {node}",
        f"runtime.device=cpu on {node}",
    ):
        assert found[check][0] == "ok", found[check]
    assert not (tmp_path / "store").exists(), "nothing is left of a store that was not there"
    assert cluster.active() == {}


def visited(tmp_path: Path, where: str, gpus: int, python: str) -> dict[str, tuple[str, str]]:
    """Check -> level and words of what is wrong, by a job."""
    need = JobRequirements(sbatch_options=(f"--gpus-per-node={gpus}",), timeout_min=10)
    found = test_job.run_test_job(
        tmp_path, need, device_name=where, gpus_per_node=gpus, python=python, setup=()
    )
    return {f.check: (f.level, f.message) for f in found if f.level != "ok"}


def test_a_node_that_cannot_start_python_is_found(cluster: Cluster, tmp_path: Path) -> None:
    wrong = visited(tmp_path, "cpu", 1, "/no/such/python")
    level, said = wrong.pop("test job")
    assert (level, "/no/such/python" in said, wrong) == ("problem", True, {})


def test_gpus_that_a_node_has_not_are_found(cluster: Cluster, tmp_path: Path) -> None:
    """Slurm grants two make-believe GPUs; torch finds none."""
    wrong = visited(tmp_path, "cuda", 2, sys.executable)
    assert len(wrong) == 1, wrong
    ((check, (level, _)),) = wrong.items()
    assert (level, check.startswith("runtime.device=cuda on ")) == ("problem", True)


def test_a_job_that_may_not_be_submitted_is_found(cluster: Cluster, tmp_path: Path) -> None:
    ((check, (level, said)),) = visited(tmp_path, "cpu", 3, sys.executable).items()
    assert (check, level) == ("test job", "problem")
    assert "not available" in said
