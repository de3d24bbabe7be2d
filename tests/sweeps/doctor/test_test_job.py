"""Diagnostics of a compute node, by its report."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from sweeps.doctor import filesystem, test_job
from sweeps.doctor.diagnostic import Diagnostic, problem
from sweeps.doctor.slurm_cluster import JobRequirements


def levels(diagnostics: list[Diagnostic]) -> dict[str, str]:
    return {d.check: d.level for d in diagnostics}


@pytest.fixture
def report(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / test_job.TOKEN_FILE).write_text("t")
    facts = {"host": "n1", "time": time.time(), "token": "t", "can_submit": True}
    diagnostics = [dataclasses.asdict(d) for d in filesystem.check_file_system(tmp_path)]
    return {**facts, "diagnostics": diagnostics}


def get_failed_levels(report: dict[str, Any]) -> dict[str, str]:
    now = time.time()
    return {
        f.check: f.level
        for f in test_job.build_diagnostics(report, "t", now - 60, now + 1)
        if f.level != "ok"
    }


def test_suitable_node_passes_every_check(report: dict[str, Any]) -> None:
    assert get_failed_levels(report) == {}


def test_folder_that_is_not_shared_is_reported(report: dict[str, Any]) -> None:
    assert get_failed_levels({**report, "token": ""}) == {"shared folder": "problem"}


@pytest.mark.parametrize("off", [-120.0, 60.0])
def test_clock_skew_is_reported(report: dict[str, Any], off: float) -> None:
    assert get_failed_levels({**report, "time": report["time"] + off}) == {"clock": "warning"}


def test_node_that_cannot_submit_is_reported(report: dict[str, Any]) -> None:
    assert get_failed_levels({**report, "can_submit": False}) == {"follow-up": "warning"}


def test_diagnostics_of_the_node_name_the_node(report: dict[str, Any]) -> None:
    failed = dataclasses.asdict(problem("fsync", "no", "yes"))
    report["diagnostics"].append(failed)
    assert get_failed_levels(report) == {"fsync on n1": "problem"}


def test_job_that_does_not_start_is_reported_and_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a queue in three lines of shell; tests/slurm has a real one."""
    programs = {
        "sbatch": "echo 77",
        "scontrol": "echo JobId=77 JobState=PENDING Reason=Resources Requeue=1",
        "scancel": f"echo $1 > {tmp_path / 'cancelled'}",
    }
    for name, rest in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{rest}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(test_job, "TIME_LIMIT_MINUTES", 0.01)
    diagnostics = test_job.run_test_job(
        tmp_path, JobRequirements(), device_name="cpu", gpus_per_node=0, python="python", setup=()
    )
    assert levels(diagnostics) == {"test job": "warning", "requeue granted": "ok"}
    assert diagnostics[0].message == "job 77 was pending for 0.01 minutes (Resources)"
    assert diagnostics[0].fix
    assert (tmp_path / "cancelled").read_text() == "77\n"


def test_forbidden_requeue_is_reported() -> None:
    assert test_job.check_requeue("JobId=1 Requeue=0 Restarts=0").level == "warning"
    assert test_job.check_requeue("JobId=1 Requeue=1 Restarts=0").level == "ok"
