"""An audit by several processes checks and measures the arms as their cells are run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ablations.plan.plan import build_plan
from sweeps.config import request
from sweeps.costs import audit_run, probe
from sweeps.costs.audit_scope import compute_audit_key
from tests.helpers.distributed_training import run_in_processes
from tests.helpers.plans import TINY_COMPONENTS
from uniclip.io.atomic import read_jsonl
from uniclip.store import Store

WORDS = [*TINY_COMPONENTS, "arms=[full,no-awareness,clip]"]


def write_plan(folder: Path) -> tuple[Store, str]:
    store, plan = Store(folder), build_plan(request.parse_request(WORDS).plan_request)
    probe.write_specs_and_plan(store, plan)
    return store, plan.plan.sweep_id


def run_audit(rank: int, folder: Path, sweep: str) -> None:
    store = Store(folder)
    plan = store.get_sweep(sweep).read_plan()
    assert plan is not None
    audit_run.run_audit(store, plan, compute_audit_key(plan))


def run_failing_audit(rank: int, folder: Path, sweep: str) -> None:
    """Data that cannot be read end the audit in all processes, and the audit records it."""
    store = Store(folder)
    plan = store.get_sweep(sweep).read_plan()
    assert plan is not None
    unreadable_plan = dataclasses.replace(
        plan, evaluation_hashes={plan.reference: {"no such set": "h"}}
    )
    with pytest.raises(RuntimeError, match="the audit failed" if rank == 0 else ""):
        audit_run.run_audit(store, unreadable_plan if rank == 0 else plan, compute_audit_key(plan))
    raise SystemExit(0)


def test_audit_of_two_processes_equals_that_of_one(tmp_path: Path) -> None:
    one, sweep = write_plan(tmp_path / "one")
    two, _ = write_plan(tmp_path / "two")
    run_audit(0, one.root, sweep)
    run_in_processes(2, run_audit, two.root, sweep)
    checks = [
        [(f.arm, f.name, f.passed) for f in s.get_sweep(sweep).read_audit_checks()]
        for s in (one, two)
    ]
    assert checks[0] == checks[1]
    assert all(passed for _, _, passed in checks[1])
    for single, shared in zip(
        read_jsonl(one.get_sweep(sweep).probes_path), read_jsonl(two.get_sweep(sweep).probes_path)
    ):
        assert shared["arm"] == single["arm"]
        assert shared["parameters"] == single["parameters"]
        assert shared["flops_per_step"] == pytest.approx(single["flops_per_step"], rel=0.05)


def test_error_of_an_audit_ends_every_process(tmp_path: Path) -> None:
    store, sweep = write_plan(tmp_path)
    run_in_processes(2, run_failing_audit, store.root, sweep)
    (check,) = store.get_sweep(sweep).read_audit_checks()
    assert (check.name, check.passed) == ("audit error", False)
