"""Probing a sweep: the audit of its arms on this machine, in a process of its own.

`python -m sweeps.costs.probe <store> <sweep id> <training hash> <device>` is that process. It runs
no cell.
"""

from __future__ import annotations

import sys

from ablations.plan.plan import ResolvedPlan
from sweeps.claims import process
from sweeps.costs.audit_run import run_audit
from sweeps.costs.audit_scope import (
    AuditKey,
    audit_failed,
    compute_audit_key,
    find_refusal,
    has_audit,
    has_valid_audit,
)
from uniclip.config import plugins
from uniclip.errors import UserError
from uniclip.store import Store, SweepFolder


def delete_failed_audit(folder: SweepFolder) -> None:
    """Delete an audit that raised an error or refuses the sweep, so that it is made again."""
    plan = folder.read_plan()
    if audit_failed(folder) or (plan is not None and find_refusal(folder, plan) is not None):
        folder.audit_path.unlink(missing_ok=True)


def write_specs_and_plan(store: Store, resolved_plan: ResolvedPlan) -> None:
    """Write what a probe reads: the specs, and the plan unless the sweep has one."""
    store.require_writable()
    store.write_format_version()
    for run_id, spec in resolved_plan.specs.items():
        store.get_run(run_id).write_spec(spec)
    folder = store.get_sweep(resolved_plan.plan.sweep_id)
    if folder.read_plan() is None:
        folder.write_plan(resolved_plan.plan)


def run_probe(store: Store, resolved_plan: ResolvedPlan) -> None:
    """Audit and measure the arms on this machine, unless there is a valid audit.

    Raises:
        UserError: the process ended without an audit.
    """
    folder = store.get_sweep(resolved_plan.plan.sweep_id)
    audit_key = compute_audit_key(resolved_plan.plan)
    if has_valid_audit(folder, audit_key):
        return
    write_specs_and_plan(store, resolved_plan)
    arguments = (str(store.root), folder.id, audit_key.training_hash, audit_key.device)
    _, failure = process.run_in_subprocess(__name__, *arguments)
    if failure is not None or not has_audit(folder, audit_key):
        raise UserError(f"the probe of {folder.id} ended without a result: {failure or 'no audit'}")


def main(store_root: str, sweep_id: str, training_hash: str, device: str) -> None:
    """Audit and measure the arms of a sweep whose plan is stored."""
    store = Store(store_root)
    store.share_with_group()
    plan = store.get_sweep(sweep_id).read_plan()
    assert plan is not None, "the plan is written before the probe starts"
    plugins.import_plugins(plan.plugins)
    run_audit(store, plan, AuditKey(training_hash=training_hash, device=device))


if __name__ == "__main__":
    main(*sys.argv[1:])
