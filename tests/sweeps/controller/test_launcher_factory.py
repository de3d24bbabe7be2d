"""The launcher of a sweep is built from its plan and settings."""

from __future__ import annotations

from pathlib import Path

from sweeps.controller.launcher_factory import build_local_launcher
from sweeps.costs.audit_scope import AuditKey, compute_audit_key
from sweeps.launchers.local import LocalLauncher
from tests.helpers.trivial_sweep import planned
from uniclip.store import RetryPolicy, Store


def test_local_workers_get_the_store_the_plan_and_the_open_audit(tmp_path: Path) -> None:
    store, plan = Store(tmp_path), planned(2, 0.0).plan
    policy, open_audits = RetryPolicy(only_runs=("r",)), [compute_audit_key(plan)]

    def find_open_audit() -> AuditKey | None:
        return open_audits[0] if open_audits else None

    launcher = build_local_launcher(store, plan, policy, 3, find_open_audit)
    assert isinstance(launcher, LocalLauncher)
    assert (launcher.num_workers, launcher.device) == (3, "cpu")
    job = launcher.build_job(True)
    assert (job.store_root, job.sweep_id, job.policy) == (str(tmp_path), plan.sweep_id, policy)
    assert (job.runs_audit, job.audit_key) == (True, open_audits[0])
    open_audits.clear()
    job = launcher.build_job(False)
    assert (job.runs_audit, job.audit_key) == (False, None)
