"""Making the audit of a sweep: every arm is trained for a few steps, checked and measured."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from sweeps.costs.audit_scope import AuditKey, has_valid_audit
from uniclip.commands.definition import EXECUTOR
from uniclip.commands.invocation import read_invocation
from uniclip.errors import StopRequested
from uniclip.identity import config_from_spec
from uniclip.io.atomic import append_jsonl, atomic_write
from uniclip.store import AuditCheck, AuditRecord, Plan, Store, SweepFolder
from uniclip.store.json_io import to_json_bytes
from uniclip.store.sweep_records import AUDIT_ERROR_CHECK

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def run_audit(
    store: Store, plan: Plan, audit_key: AuditKey, stop: Callable[[], bool] = lambda: False
) -> None:
    """Train every arm for a few steps, run its manipulation checks and measure its speed.

    Nothing happens if the sweep has a valid audit. If several processes share the job, each of them
    calls this function.

    Args:
        store: the store of the sweep.
        plan: the plan whose arms are audited.
        audit_key: the device to train on; written to the audit with training hash and world size.
        stop: returns True once the short runs of a command should stop; then no audit is written.

    Raises:
        RuntimeError: the audit failed while other processes of the job take part in it.
    """
    if plan.executor == EXECUTOR:
        _run_command_audit(store, plan, audit_key, stop)
        return
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
        audit_result = audit.AuditResult(checks=[_build_failed_check(plan, error)], probes=[])
    _write_audit(sweep_folder, audit_key, audit_result.checks, audit_result.probes)
    if process_group.world_size > 1 and not audit_result.probes:
        raise RuntimeError("the audit failed")  # ends the other processes, which wait in it


def _run_command_audit(
    store: Store, plan: Plan, audit_key: AuditKey, stop: Callable[[], bool]
) -> None:
    """Make short runs of every arm of a command, unless that was done."""
    from ablations.audit import command_audit  # only such a sweep needs it

    folder = store.get_sweep(plan.sweep_id)
    if has_valid_audit(folder, audit_key):
        return
    plan = audit_key.replace_plan_device(plan)
    runs = {c.arm: store.get_run(c.run_id) for c in reversed(plan.cells)}
    probes: list[command_audit.CommandProbeRecord] = []
    try:
        invocations = {
            a.name: read_invocation(runs[a.name].read_spec(), plan.run_only_values(a.name))
            for a in plan.arms
        }
        result = command_audit.run_command_audit(
            plan, invocations, folder.path / "checks", audit_key.device_type, stop
        )
        checks, probes = result.checks, result.probes
    except StopRequested:
        return
    except Exception as error:
        checks = [_build_failed_check(plan, error)]
    _write_audit(folder, audit_key, checks, probes)


def _build_failed_check(plan: Plan, error: Exception) -> AuditCheck:
    """Return the check that stands for an audit which ended with an error, and print the error."""
    traceback.print_exc()
    message = " ".join(str(error).split())[:300]
    return AuditCheck(arm=plan.reference, name=AUDIT_ERROR_CHECK, passed=False, detail=message)


def _write_audit(
    folder: SweepFolder,
    audit_key: AuditKey,
    checks: Sequence[AuditCheck],
    probes: Iterable[DataclassInstance],
) -> None:
    for probe in probes:
        scope = {"training_hash": audit_key.training_hash, "world_size": audit_key.world_size}
        append_jsonl(folder.probes_path, {**asdict(probe), **scope})
    audit_record = AuditRecord(
        checks=tuple(checks),
        training_hash=audit_key.training_hash,
        device_type=audit_key.device_type,
        world_size=audit_key.world_size,
    )
    atomic_write(folder.audit_path, to_json_bytes(audit_record))
