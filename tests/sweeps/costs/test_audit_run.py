"""Making an audit: what is written, once, and what happens if it raises an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.audit import audit
from ablations.audit.audit import AuditResult, ProbeRecord
from sweeps.costs import probe
from sweeps.costs.audit_run import run_audit
from sweeps.costs.audit_scope import audit_failed, compute_audit_key, has_audit, has_valid_audit
from sweeps.costs.estimate import read_probes
from tests.helpers.plans import TINY_COMPONENTS, plan_from_words
from uniclip.store import AuditCheck, Plan, Store

RECORD = ProbeRecord(
    arm="full",
    device="cpu",
    device_name="a CPU",
    seconds_per_step=0.5,
    step_seconds_range=(0.4, 0.7),
    compute_seconds_per_step=0.4,
    data_seconds_per_step=0.1,
    num_workers=0,
    setup_and_eval_seconds=3.0,
    flops_per_step=10,
    parameters=5,
    checkpoint_bytes=60,
    peak_memory_bytes=70,
)


def write_plan(store: Store) -> Plan:
    resolved_plan = plan_from_words(*TINY_COMPONENTS, "arms=[full]")
    probe.write_specs_and_plan(store, resolved_plan)
    return resolved_plan.plan


def test_audit_and_probes_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    plan = write_plan(store)
    folder, audit_key = store.get_sweep(plan.sweep_id), compute_audit_key(plan)
    check = AuditCheck(arm="full", name="same initial weights", passed=True, detail="")
    calls = []

    def audit_arms(plan: Plan, configs: dict[str, object]) -> AuditResult:
        calls.append(set(configs))
        return AuditResult(checks=[check], probes=[RECORD])

    monkeypatch.setattr(audit, "run_audit", audit_arms)
    run_audit(store, plan, audit_key)
    run_audit(store, plan, audit_key)
    assert calls == [{"full"}]
    assert (folder.read_audit_checks(), has_valid_audit(folder, audit_key)) == ((check,), True)
    record = read_probes(folder, "cpu")["full"]
    assert record["training_hash"] == audit_key.training_hash
    assert (record["step_seconds_range"], record["device_name"]) == ([0.4, 0.7], "a CPU")


def test_error_of_an_audit_is_a_failed_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    plan = write_plan(store)
    folder, audit_key = store.get_sweep(plan.sweep_id), compute_audit_key(plan)

    def raise_error(plan: Plan, configs: object) -> AuditResult:
        raise ValueError("no\nimage")

    monkeypatch.setattr(audit, "run_audit", raise_error)
    run_audit(store, plan, audit_key)
    (check,) = folder.read_audit_checks()
    assert (check.arm, check.passed, check.detail) == ("full", False, "no image")
    assert has_audit(folder, audit_key)
    assert audit_failed(folder)
    assert not has_valid_audit(folder, audit_key)
