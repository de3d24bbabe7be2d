"""A probe runs in a process of its own, and writes nothing that is there already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.costs import probe
from sweeps.costs.audit_scope import AuditKey, compute_audit_key
from tests.helpers.command_ablations import plan_command
from tests.helpers.trivial_sweep import pass_audit, planned
from uniclip.errors import UserError
from uniclip.io.atomic import atomic_write
from uniclip.store import AuditCheck, AuditRecord, Store, SweepFolder
from uniclip.store.json_io import to_json_bytes
from uniclip.store.sweep_records import AUDIT_ERROR_CHECK


def test_probe_of_another_device_does_not_change_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved_plan, store = planned(1, 0.0), Store(tmp_path)
    probe.write_specs_and_plan(store, resolved_plan)
    devices: list[str] = []

    def run_audit(store: Store, plan: object, audit_key: AuditKey) -> None:
        devices.append(audit_key.replace_plan_device(resolved_plan.plan).device)

    monkeypatch.setattr(probe, "run_audit", run_audit)
    probe.main(str(tmp_path), resolved_plan.plan.sweep_id, "t", "cuda:1")
    stored_plan = store.get_sweep(resolved_plan.plan.sweep_id).read_plan()
    assert (devices, stored_plan) == (["cuda:1"], resolved_plan.plan)


def test_stored_plan_is_kept(tmp_path: Path) -> None:
    resolved_plan, store = planned(1, 0.0), Store(tmp_path)
    probe.write_specs_and_plan(store, resolved_plan)
    other = replace(resolved_plan, plan=replace(resolved_plan.plan, title="another title"))
    probe.write_specs_and_plan(store, other)
    stored_plan = store.get_sweep(resolved_plan.plan.sweep_id).read_plan()
    assert stored_plan == resolved_plan.plan


def test_probe_is_skipped_if_there_is_a_valid_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved_plan, store = planned(1, 0.0), Store(tmp_path)
    monkeypatch.setattr(probe.process, "run_in_subprocess", lambda *a: ("", "no such module"))
    with pytest.raises(UserError, match="ended without a result: no such module"):
        probe.run_probe(store, resolved_plan)
    pass_audit(store, resolved_plan.plan)
    probe.run_probe(store, resolved_plan)


def write_failed_audit(folder: SweepFolder, audit_key: AuditKey) -> None:
    failed_check = AuditCheck(arm="only", name=AUDIT_ERROR_CHECK, passed=False, detail="no image")
    record = AuditRecord(
        checks=(failed_check,),
        training_hash=audit_key.training_hash,
        device_type=audit_key.device_type,
    )
    atomic_write(folder.audit_path, to_json_bytes(record))


def test_of_several_processes_the_failed_audit_is_what_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They end with an error, so that none waits for another."""
    resolved_plan, store = planned(1, 0.0), Store(tmp_path)
    plan = resolved_plan.plan
    folder, audit_key = store.get_sweep(plan.sweep_id), compute_audit_key(plan)

    def fail_with_audit(*arguments: str) -> tuple[str, str]:
        write_failed_audit(folder, audit_key)
        return "", "RuntimeError: the audit failed"

    monkeypatch.setattr(probe.process, "run_in_subprocess", fail_with_audit)
    probe.run_probe(store, resolved_plan, 2)
    assert [check.detail for check in folder.read_audit_checks()] == ["no image"]
    monkeypatch.setattr(probe.process, "run_in_subprocess", lambda *a: ("", "it was killed"))
    with pytest.raises(UserError, match="ended without a result: it was killed"):
        probe.run_probe(store, resolved_plan, 2)  # the failed audit is that of an earlier probe


def test_failed_audit_is_deleted(tmp_path: Path) -> None:
    plan, store = planned(1, 0.0).plan, Store(tmp_path)
    folder, audit_key = store.get_sweep(plan.sweep_id), compute_audit_key(plan)
    pass_audit(store, plan)
    probe.delete_failed_audit(folder, plan)
    assert folder.audit_path.exists()
    write_failed_audit(folder, audit_key)
    probe.delete_failed_audit(folder, plan)
    assert not folder.audit_path.exists()


def test_an_audit_of_other_checks_is_deleted(tmp_path: Path) -> None:
    """What must differ does not enter the id of the sweep."""
    store = Store(tmp_path / "store")
    resolved_plan = plan_command(tmp_path, "seeds=1")
    plan, folder = resolved_plan.plan, store.get_sweep(resolved_plan.plan.sweep_id)
    folder.write_plan(plan)
    pass_audit(store, plan)
    probe.delete_failed_audit(folder, plan_command(tmp_path, "seeds=2").plan)
    assert folder.audit_path.exists()
    arms = {"base": {}, "gain": {"overrides": {"gain": 1.0}, "must_differ": ["batch"]}}
    for changes in ({"arms": arms}, {"command": {"kill_at": 2}}):
        pass_audit(store, plan)
        other_plan = plan_command(tmp_path, "seeds=1", **changes).plan
        assert other_plan.sweep_id == plan.sweep_id
        probe.delete_failed_audit(folder, other_plan)
        assert not folder.audit_path.exists()


def test_a_probe_makes_the_checks_of_the_requested_plan(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    plan = plan_command(tmp_path, "seeds=2").plan
    folder = store.get_sweep(plan.sweep_id)
    folder.write_plan(plan)
    pass_audit(store, plan)
    arms = {"base": {}, "gain": {"overrides": {"gain": 1.0}, "must_differ": ["batch"]}}
    probe.run_probe(store, plan_command(tmp_path, "seeds=1", arms=arms))
    checks = {check.name: check.passed for check in folder.read_audit_checks()}
    assert checks["batch differs from base"] is False
    stored_plan = folder.read_plan()
    assert stored_plan is not None
    assert stored_plan.seeds == plan.seeds
