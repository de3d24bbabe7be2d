"""What the user has exported, where her folders lie, and requests that can never start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command_line import Driver, assert_finished_once
from tests.helpers.slurm_cluster import Cluster
from tests.slurm.test_disturbances import finish

WORDS = ("arms=[clip]", "seeds=1", "train.steps=20", "launcher=slurm", "launcher.timeout_min=30")
UNUSUAL = "a b (1)[2] josé 你好 #4 100% %j%%A_%a e=f ~g $HOME & ; , ' \" ! * ? < > | `x` @"
FILTERS = {
    "SQUEUE_PARTITION": "normal",
    "SQUEUE_NAMES": "other",
    "SINFO_PARTITION": "normal",
    "SACCT_FORMAT": "JobName",
    "SCANCEL_NAME": "other",
}
EXPORTED = {"SBATCH_PARTITION": "urgent", "SBATCH_ACCOUNT": "lab", "SBATCH_TIMELIMIT": "3"}


@pytest.fixture
def partition_down(cluster: Cluster) -> Iterator[None]:
    cluster.command("scontrol", "update", "PartitionName=normal", "State=DOWN")
    yield
    cluster.command("scontrol", "update", "PartitionName=normal", "State=UP")


def test_a_store_anywhere_with_options_and_filters_of_the_user(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells and follow-ups get the exported options, and nothing is submitted twice."""
    for name, value in {**FILTERS, **EXPORTED}.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / UNUSUAL
    folder.mkdir()
    driver = Driver(folder / "store", *WORDS)
    text = driver.run()
    assert "note: the jobs get SBATCH_ACCOUNT=lab, SBATCH_PARTITION=urgent" in text
    assert "SBATCH_TIMELIMIT=3" in text
    first_jobs = set(cluster.squeue())
    driver.run()
    assert set(cluster.squeue()) == first_jobs, "an audit and a follow-up, once"
    finish(cluster)
    assert_finished_once(driver)
    assert driver.tables()
    jobs = [cluster.job(job) for job in cluster.squeue()]
    assert len(jobs) > len(first_jobs), "cells and their follow-up"
    assert {(job["Partition"], job["Account"], job["TimeLimit"]) for job in jobs[-4:]} == {
        ("urgent", "lab", "00:30:00")
    }
    assert [path.name for path in tmp_path.iterdir()] == [UNUSUAL]
    assert list(driver.store.get_sweep(driver.plan().sweep_id).worker_logs_path.glob("*_log.out"))


def test_what_can_never_start_is_not_submitted(cluster: Cluster, tmp_path: Path) -> None:
    driver = Driver(tmp_path / "store", *WORDS)
    for word, text in (
        ("launcher.mem_gb=99999", "node size: 99999 GB of memory requested"),
        ("launcher.partition=gpus", "partition: no partition gpus; the partitions are"),
        ("launcher.nodes=3", "nodes: a cell needs 3 nodes, normal has 2"),
    ):
        assert text in driver.run(word, status=2)
    assert cluster.active() == {}
    assert not driver.folder.exists()


@pytest.mark.usefixtures("partition_down")
def test_status_says_what_to_change_if_a_job_does_not_start(
    cluster: Cluster, tmp_path: Path
) -> None:
    driver = Driver(tmp_path / "store", *WORDS)
    assert "normal starts no jobs (State=DOWN)" in driver.run()
    cluster.wait_until(
        lambda: driver.states()["clip/0"]["status"] == "blocked", "Slurm's reason for the job"
    )
    text = driver.run(command="status")
    assert "cancel, then run with another launcher.partition" in text
    assert "queued: wait" not in text
    driver.run(command="cancel")
    assert cluster.active() == {}
