"""A probe runs in a process of its own, and writes nothing that is there already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.costs import probe
from sweeps.costs.audit_scope import AuditKey, compute_audit_key
from tests.helpers.trivial_sweep import pass_audit, planned
from uniclip.errors import UserError
from uniclip.io.atomic import atomic_write
from uniclip.store import AuditCheck, AuditRecord, Store
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


def test_failed_audit_is_deleted(tmp_path: Path) -> None:
    plan, store = planned(1, 0.0).plan, Store(tmp_path)
    folder, audit_key = store.get_sweep(plan.sweep_id), compute_audit_key(plan)
    pass_audit(store, plan)
    probe.delete_failed_audit(folder)
    assert folder.audit_path.exists()
    failed_check = AuditCheck(arm="only", name=AUDIT_ERROR_CHECK, passed=False, detail="no image")
    record = AuditRecord(
        checks=(failed_check,),
        training_hash=audit_key.training_hash,
        device_type=audit_key.device_type,
    )
    atomic_write(folder.audit_path, to_json_bytes(record))
    probe.delete_failed_audit(folder)
    assert not folder.audit_path.exists()
