"""An audit by several processes: arms are proven and measured as the cells will be run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ablations.plan.plan import build_plan
from sweeps.config import request
from sweeps.costs import audit_run, probe
from sweeps.costs.audit_scope import compute_audit_key
from tests.ablations.audit.test_audit import TINY
from tests.helpers.distributed_training import run_in_processes
from uniclip.io.atomic import read_jsonl
from uniclip.store import Store

WORDS = [*TINY, "arms=[full,no-awareness,clip]"]


def prepared(folder: Path) -> tuple[Store, str]:
    store, planned = Store(folder), build_plan(request.parse_request(WORDS).plan_request)
    probe.write_specs_and_plan(store, planned)
    return store, planned.plan.sweep_id


def proves(rank: int, folder: Path, sweep: str) -> None:
    store = Store(folder)
    planned = store.get_sweep(sweep).read_plan()
    assert planned is not None
    audit_run.run_audit(store, planned, compute_audit_key(planned))


def broken(rank: int, folder: Path, sweep: str) -> None:
    """Data that cannot be read: all processes end, and the audit says so."""
    store = Store(folder)
    planned = store.get_sweep(sweep).read_plan()
    assert planned is not None
    contrary = dataclasses.replace(
        planned, evaluation_hashes={planned.reference: {"no such set": "h"}}
    )
    with pytest.raises(RuntimeError, match="the audit failed" if rank == 0 else ""):
        audit_run.run_audit(store, contrary if rank == 0 else planned, compute_audit_key(planned))
    raise SystemExit(0)


def test_two_processes_prove_what_one_does(tmp_path: Path) -> None:
    one, sweep = prepared(tmp_path / "one")
    two, _ = prepared(tmp_path / "two")
    proves(0, one.root, sweep)
    run_in_processes(2, proves, two.root, sweep)
    checks = [
        [(f.arm, f.name, f.passed) for f in s.get_sweep(sweep).read_audit_checks()]
        for s in (one, two)
    ]
    assert checks[0] == checks[1]
    assert all(holds for _, _, holds in checks[1])
    for alone, shared in zip(
        read_jsonl(one.get_sweep(sweep).probes_path), read_jsonl(two.get_sweep(sweep).probes_path)
    ):
        assert shared["arm"] == alone["arm"]
        assert shared["parameters"] == alone["parameters"]
        assert shared["flops_per_step"] == pytest.approx(alone["flops_per_step"], rel=0.05)


def test_an_audit_that_cannot_be_made_ends_on_every_process(tmp_path: Path) -> None:
    store, sweep = prepared(tmp_path)
    run_in_processes(2, broken, store.root, sweep)
    (finding,) = store.get_sweep(sweep).read_audit_checks()
    assert (finding.name, finding.passed) == ("audit error", False)
