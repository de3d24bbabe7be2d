"""The launcher of a sweep is built from its plan and settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.config import schema
from sweeps.config.schema import LocalLauncherConfig, SlurmLauncherConfig, SweepConfig
from sweeps.controller import launcher_factory
from sweeps.controller.launcher_factory import build_local_launcher, count_workers
from sweeps.costs.audit_scope import AuditKey, compute_audit_key
from sweeps.launchers.local import LocalLauncher
from tests.helpers.trivial_sweep import planned
from uniclip.store import RetryPolicy, Store


@pytest.mark.parametrize(
    ("launcher", "num_gpus", "expected"),
    [
        (LocalLauncherConfig(), 4, 4),
        (LocalLauncherConfig(tasks_per_node=2), 4, 2),
        (LocalLauncherConfig(tasks_per_node=2), 5, 2),
        (LocalLauncherConfig(tasks_per_node=8), 8, 1),
        (LocalLauncherConfig(tasks_per_node=2), None, 16),
        (LocalLauncherConfig(tasks_per_node=2, max_workers=3), 4, 3),
        (SlurmLauncherConfig(gpus_per_node=2), 4, 256),
    ],
)
def test_workers_follow_from_the_gpus_and_the_processes_of_a_run(
    monkeypatch: pytest.MonkeyPatch,
    launcher: LocalLauncherConfig | SlurmLauncherConfig,
    num_gpus: int | None,
    expected: int,
) -> None:
    monkeypatch.setattr(schema.os, "sched_getaffinity", lambda pid: set(range(32)), raising=False)
    monkeypatch.setattr(launcher_factory, "count_checked_gpus", lambda device: num_gpus)
    plan = replace(planned(2, 0.0).plan, launch_device="cuda")
    assert (plan.device, plan.num_threads) == ("cuda", 1)
    assert count_workers(SweepConfig(launcher=launcher), plan) == expected


def test_local_workers_get_the_store_the_plan_and_the_open_audit(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), planned(2, 0.0).plan
    policy, open_audits = RetryPolicy(only_runs=("r",)), [compute_audit_key(plan)]

    def find_open_audit() -> AuditKey | None:
        return open_audits[0] if open_audits else None

    launcher = build_local_launcher(store, plan, policy, 3, find_open_audit)
    assert isinstance(launcher, LocalLauncher)
    assert (launcher.num_workers, launcher.device) == (3, "cpu")
    assert launcher.processes_per_run == 1
    several = build_local_launcher(store, plan, policy, 3, find_open_audit, 2)
    assert isinstance(several, LocalLauncher)
    assert several.processes_per_run == 2
    job = launcher.build_job(True)
    assert (job.store_root, job.sweep_id, job.policy) == (str(tmp_path), plan.sweep_id, policy)
    assert (job.runs_audit, job.audit_key) == (True, open_audits[0])
    open_audits.clear()
    job = launcher.build_job(False)
    assert (job.runs_audit, job.audit_key) == (False, None)
