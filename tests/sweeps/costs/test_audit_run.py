"""Making the audit of a sweep: what is recorded if it succeeds, and if it fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ablations.audit import audit
from sweeps.costs import audit_run
from sweeps.costs.audit_scope import AuditKey, audit_failed, has_valid_audit
from tests.helpers.trivial_sweep import planned
from uniclip.io.atomic import read_jsonl
from uniclip.store import AuditCheck, Store

PROBE = audit.ProbeRecord(
    **{f.name: 0 for f in dataclasses.fields(audit.ProbeRecord)} | {"arm": "only"}
)
KEY = AuditKey(training_hash="0123", device="cpu")


@pytest.fixture
def run_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Store]:
    """Audits a planned sweep with a function in place of the training steps."""
    store, sweep = Store(tmp_path), planned(1, 0.0)
    store.get_sweep(sweep.plan.sweep_id).write_plan(sweep.plan)
    for run_id, spec in sweep.specs.items():
        store.get_run(run_id).write_spec(spec)
    monkeypatch.setattr(audit_run, "config_from_spec", lambda spec, run_only: None)

    def act(make_audit: Any) -> Store:
        monkeypatch.setattr(audit, "run_audit", make_audit)
        audit_run.run_audit(store, sweep.plan, KEY)
        return store

    return act


def test_checks_and_measurements_are_recorded_once(run_audit: Callable[[Any], Store]) -> None:
    calls = list[str]()
    check = AuditCheck(arm="only", name="x", passed=True, detail="")

    def succeed(plan: Any, configs: Any) -> audit.AuditResult:
        calls.append(plan.base_config["runtime"]["device"])
        return audit.AuditResult(checks=[check], probes=[PROBE])

    for _ in range(2):
        store = run_audit(succeed)
    folder = store.get_sweep(planned(1, 0.0).plan.sweep_id)
    assert calls == ["cpu"], "a valid audit is not made again"
    assert has_valid_audit(folder, KEY)
    assert folder.read_audit_checks() == (check,)
    (probe,) = read_jsonl(folder.probes_path)
    assert probe["arm"] == "only"
    assert KEY.training_hash in probe.values()


def test_an_error_is_recorded_as_a_failed_audit(run_audit: Callable[[Any], Store]) -> None:
    def fail(plan: Any, configs: Any) -> audit.AuditResult:
        raise ValueError("no image")

    folder = run_audit(fail).get_sweep(planned(1, 0.0).plan.sweep_id)
    assert audit_failed(folder)
    (check,) = folder.read_audit_checks()
    assert (check.passed, check.detail) == (False, "no image")
