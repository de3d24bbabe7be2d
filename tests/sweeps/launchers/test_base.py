"""The launcher interface, for each implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.launchers.base import Launcher
from sweeps.launchers.local import LocalLauncher
from sweeps.launchers.worker import WorkerJob
from tests.helpers.slurm_queue import Scene
from uniclip.store import RetryPolicy, Store


def build_local_launcher(folder: Path) -> Launcher:
    def build_job(runs_audit: bool) -> WorkerJob:
        return WorkerJob(store_root=str(folder), sweep_id="x", policy=RetryPolicy())

    return LocalLauncher(folder / "logs", "cpu", 2, build_job)


def build_slurm_launcher(folder: Path) -> Launcher:
    return Scene(Store(folder), 2).build_launcher(cells_per_job=1)


@pytest.mark.parametrize("build", [build_local_launcher, build_slurm_launcher])
def test_a_launcher_without_open_runs_starts_nothing(
    tmp_path: Path, build: Callable[[Path], Launcher]
) -> None:
    launcher = build(tmp_path)
    assert launcher.poll_seconds > 0
    assert launcher.blocking in (True, False)
    launcher.submit([], {})
    assert not launcher.is_active()
    launcher.stop()


def test_a_queued_job_keeps_a_launcher_active(tmp_path: Path) -> None:
    scene = Scene(Store(tmp_path), 2)
    launcher = scene.build_launcher(cells_per_job=1)
    launcher.submit(scene.runs, scene.states())
    assert launcher.is_active()
    launcher.stop()
    assert launcher.is_active(), "jobs continue without the controller"
