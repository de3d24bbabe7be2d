"""Costs on a real Slurm: one probe job, the expected start, and an enforced limit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.command_line import Driver
from tests.helpers.slurm_cluster import Cluster

ARMS = ("arms=[full]", "seeds=1", "train.steps=20")
SLURM = (
    *("launcher=slurm", "launcher.timeout_min=30", "launcher.gpus_per_node=2"),
    "runtime.device=cpu",
)


@pytest.fixture
def driver(cluster: Cluster, tmp_path: Path) -> Driver:
    return Driver(tmp_path / "store", *ARMS, *SLURM)


def test_a_probe_is_one_job_and_a_limit_holds_on_what_it_measured(
    cluster: Cluster, driver: Driver
) -> None:
    said = driver.run("--probe", command="plan")
    assert re.search(r"expected start: \d{4}-\d\d-\d\d ", said)
    assert "not measured" in said, "the command does not wait for the probe job"
    (job,) = cluster.active()
    cluster.wait_state(job, "COMPLETED")
    assert cluster.active() == {}, "neither cells nor a follow-up"
    said = driver.run(command="plan")
    assert "not measured" not in said
    assert re.search(r"GPU-hours \(from probe\)", said)
    said = driver.run("max_gpu_hours=0.000001", status=2)
    assert "would take about" in said
    assert cluster.active() == {}
    assert driver.endings() == dict.fromkeys(driver.endings(), [])


def test_a_rejected_request_is_reported(cluster: Cluster, driver: Driver) -> None:
    said = driver.run("launcher.nodes=3", command="plan")
    assert re.search(r"expected start: .*(not available|More processors|Node count)", said)
