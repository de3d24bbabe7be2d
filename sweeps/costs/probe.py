"""Probing a sweep: the audit of its arms on this machine, in a process of its own.

`python -m sweeps.costs.probe <store> <sweep id> <training hash> <device> <number of processes>` is
that process; it starts the others of a run. It runs no cell.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial

from ablations.plan.plan import ResolvedPlan
from sweeps.claims import process
from sweeps.costs.audit_run import run_audit
from sweeps.costs.audit_scope import (
    AuditKey,
    audit_failed,
    compute_audit_key,
    compute_checks_digest,
    find_refusal,
    has_audit,
    has_valid_audit,
)
from sweeps.rank_processes import RankProcesses
from uniclip.config import plugins
from uniclip.errors import UserError
from uniclip.store import Plan, Store, SweepFolder


def delete_failed_audit(folder: SweepFolder, plan: Plan) -> None:
    """Delete an audit that raised an error, refuses the sweep or made other checks than a plan's.

    It is then made again.
    """
    is_refused = find_refusal(folder, plan) is not None
    if audit_failed(folder) or is_refused or _has_other_checks(folder.read_plan(), plan):
        folder.audit_path.unlink(missing_ok=True)


def _has_other_checks(stored_plan: Plan | None, plan: Plan) -> bool:
    return stored_plan is not None and (
        compute_checks_digest(stored_plan) != compute_checks_digest(plan)
    )


def write_specs_and_plan(store: Store, resolved_plan: ResolvedPlan) -> None:
    """Write what a probe reads: the specs, and the plan unless the sweep has one.

    The checks of the arms of a command are written, though, and an audit of others is deleted.
    """
    store.require_writable()
    store.write_format_version()
    for run_id, spec in resolved_plan.specs.items():
        store.get_run(run_id).write_spec(spec)
    plan = resolved_plan.plan
    folder = store.get_sweep(plan.sweep_id)
    stored_plan = folder.read_plan()
    if stored_plan is None:
        folder.write_plan(plan)
    elif _has_other_checks(stored_plan, plan):
        folder.audit_path.unlink(missing_ok=True)
        folder.write_plan(
            replace(
                stored_plan,
                base_config=plan.base_config,
                components=plan.components,
                command_checks=plan.command_checks,
            )
        )


def run_probe(store: Store, resolved_plan: ResolvedPlan, num_processes: int = 1) -> None:
    """Audit and measure the arms on this machine, unless there is a valid audit.

    num_processes: processes of one run.

    Raises:
        UserError: the process ended without an audit.
    """
    folder = store.get_sweep(resolved_plan.plan.sweep_id)
    audit_key = compute_audit_key(resolved_plan.plan, num_processes)
    has_other_checks = _has_other_checks(folder.read_plan(), resolved_plan.plan)
    if has_valid_audit(folder, audit_key) and not has_other_checks:
        return
    write_specs_and_plan(store, resolved_plan)
    if has_audit(folder, audit_key):
        folder.audit_path.unlink(missing_ok=True)  # it failed; what is there later is of this probe
    arguments = (str(store.root), folder.id, audit_key.training_hash, audit_key.device)
    _, failure = process.run_in_subprocess(__name__, *arguments, str(num_processes))
    # Where an audit of several processes fails, it is written before they end with an error.
    if not has_audit(folder, audit_key):
        raise UserError(f"the probe of {folder.id} ended without a result: {failure or 'no audit'}")


def main(
    store_root: str, sweep_id: str, training_hash: str, device: str, num_processes: str = "1"
) -> None:
    """Audit and measure the arms of a sweep whose plan is stored."""
    world_size = int(num_processes)
    audit_key = AuditKey(training_hash=training_hash, device=device, world_size=world_size)
    if world_size == 1:
        _audit(store_root, sweep_id, audit_key)
        return
    audit_together = partial(_audit, store_root, sweep_id, audit_key, in_group=True)
    RankProcesses(world_size, audit_together).run(audit_together)


def _audit(store_root: str, sweep_id: str, audit_key: AuditKey, in_group: bool = False) -> None:
    store = Store(store_root)
    store.share_with_group()
    plan = store.get_sweep(sweep_id).read_plan()
    assert plan is not None, "the plan is written before the probe starts"
    plugins.import_plugins(plan.plugins)
    if not in_group:
        run_audit(store, plan, audit_key)
        return
    from uniclip import distributed  # imports torch

    distributed.init_process_group(audit_key.device)
    run_audit(store, plan, audit_key)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
