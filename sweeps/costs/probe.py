"""A probe: a few steps of every arm, which prove its switches and measure what it costs.

`python -m sweeps.costs.probe <store> <sweep id> <training hash> <device>` makes it in this process; it
runs no cell.
"""

from __future__ import annotations

import sys

from ablations.plan.plan import Planned
from sweeps.claims import process
from sweeps.costs.audit_scope import Basis, audited, basis, failed, proven
from sweeps.launchers.worker import prove
from uniclip.config import plugins
from uniclip.errors import UserError
from uniclip.store import Store, SweepFolder


def forget_failed(folder: SweepFolder) -> None:
    """An audit that could not be made is made again where a person asks again."""
    if failed(folder):
        folder.audit.unlink(missing_ok=True)


def prepare(store: Store, planned: Planned) -> None:
    """Write down what a probe needs: specs, and the plan unless the sweep has one already."""
    store.require_writable()
    for run_id, spec in planned.specs.items():
        store.run(run_id).publish_spec(spec)
    folder = store.sweep(planned.plan.sweep)
    if folder.plan() is None:
        folder.write_plan(planned.plan)


def here(store: Store, planned: Planned) -> None:
    """Probe the arms on this machine, in a process of its own; nothing where that was done.

    Raises:
        UserError: the process ended without an audit.
    """
    folder, meant = store.sweep(planned.plan.sweep), basis(planned.plan)
    if proven(folder, meant):
        return
    prepare(store, planned)
    words = (str(store.root), folder.id, meant.training, meant.device)
    _, failure = process.apart(__name__, *words)
    if failure is not None or not audited(folder, meant):
        raise UserError(f"the probe of {folder.id} ended without a result: {failure or 'no audit'}")


def main(root: str, sweep: str, training: str, device: str) -> None:
    """Prove and measure the arms of a sweep whose plan is written down."""
    store = Store(root)
    plan = store.sweep(sweep).plan()
    assert plan is not None, "a plan is written before it is probed"
    plugins.use(plan.plugins)
    prove(store, plan, Basis(training=training, device=device))


if __name__ == "__main__":
    main(*sys.argv[1:])
