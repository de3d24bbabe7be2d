"""Making the audit of a sweep: every arm is trained for a few steps, checked and measured."""

from __future__ import annotations

import traceback
from dataclasses import asdict

from sweeps.costs.audit_scope import AuditKey, has_valid_audit
from uniclip.identity import config_from_spec
from uniclip.io.atomic import append_jsonl, atomic_write
from uniclip.store import AuditCheck, AuditRecord, Plan, Store
from uniclip.store.json_io import to_json_bytes
from uniclip.store.sweep_records import AUDIT_ERROR_CHECK


def run_audit(store: Store, plan: Plan, audit_key: AuditKey) -> None:
    """Train every arm for a few steps, run its manipulation checks and measure its speed.

    Nothing happens if the sweep has a valid audit. If several processes share the job, each of them
    calls this function.

    Args:
        store: the store of the sweep.
        plan: the plan whose arms are audited.
        audit_key: the device to train on; written to the audit with the training hash.

    Raises:
        RuntimeError: the audit failed while other processes of the job take part in it.
    """
    from ablations.audit import audit  # imports torch
    from uniclip import distributed

    sweep_folder, process_group = store.get_sweep(plan.sweep_id), distributed.get_process_group()
    if not process_group.broadcast_object(not has_valid_audit(sweep_folder, audit_key)):
        return
    plan = audit_key.replace_plan_device(plan)
    specs = {c.arm: store.get_run(c.run_id).read_spec() for c in reversed(plan.cells)}
    configs = {
        a.name: config_from_spec(specs[a.name], plan.run_only_values(a.name)) for a in plan.arms
    }
    if process_group.rank > 0:
        audit.run_nonzero_rank(plan, configs)
        return
    try:
        audit_result = audit.run_audit(plan, configs)
    except Exception as error:
        # For example bad data: then each cell fails by itself, and the next start audits again.
        traceback.print_exc()
        message = " ".join(str(error).split())[:300]
        failed_check = AuditCheck(
            arm=plan.reference, name=AUDIT_ERROR_CHECK, passed=False, detail=message
        )
        audit_result = audit.AuditResult(checks=[failed_check], probes=[])
    for probe in audit_result.probes:
        append_jsonl(
            sweep_folder.probes_path, {**asdict(probe), "training_hash": audit_key.training_hash}
        )
    audit_record = AuditRecord(
        checks=tuple(audit_result.checks),
        training_hash=audit_key.training_hash,
        device_type=audit_key.device_type,
    )
    atomic_write(sweep_folder.audit_path, to_json_bytes(audit_record))
    if process_group.world_size > 1 and not audit_result.probes:
        raise RuntimeError("the audit failed")  # ends the other processes, which wait in it
