"""Stores with cells of any status, written by the code of the store itself, for `overhead`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from ablations.plan.plan import ResolvedPlan, build_plan
from analysis.report import build
from sweeps.claims.process import make_claim_record
from sweeps.config import request
from tests.helpers import trivial_cell
from uniclip.io.atomic import atomic_write
from uniclip.store import AttemptFolder, EndReason, Plan, RunFolder, RunStatus, Store
from uniclip.store.json_io import to_json_bytes


def plan_components(store: Path, num_cells: int) -> tuple[list[str], ResolvedPlan]:
    """Return the overrides and the plan of the main ablation, with at least `num_cells` cells."""
    overrides = ["ablation=components", "seeds=1", f"store={store}"]
    num_arms = len(build_plan(request.parse_request(overrides).plan_request).plan.cells)
    overrides[1] = f"seeds={-(-num_cells // num_arms)}"
    return overrides, build_plan(request.parse_request(overrides).plan_request)


def write_complete_cells(store: Store, resolved: ResolvedPlan) -> None:
    """Write every cell as a complete run, without waiting for the disk."""
    evaluations = resolved.plan.required_evaluations()
    with mock.patch("os.fsync"):
        for run, attempt in _claim_cells(store, resolved):
            trivial_cell.execute(run, {}, attempt, evaluations[run.id], lambda: False)
            attempt.write_end("trained")


def write_started_cells(store: Store, resolved: ResolvedPlan, status: RunStatus) -> None:
    """Write every cell as a running or an interrupted run, without waiting for the disk."""
    with mock.patch("os.fsync"):
        for _, attempt in _claim_cells(store, resolved):
            attempt.write_heartbeat(step=1, total_steps=2, steps_per_second=1.0, phase="training")
            if status is RunStatus.INTERRUPTED:
                attempt.write_end("interrupted", reason=EndReason.PREEMPTED)


def mark_as_reported(store: Store, plan: Plan) -> None:
    """Write the records of a current report: cells without a training cannot have a real one."""
    manifest = {
        "input_digest": build.compute_input_digest(store, plan),
        "summary": [],
        "planted_effects": [],
        "files": [],
    }
    atomic_write(store.report_path(plan.sweep_id) / build.MANIFEST_NAME, to_json_bytes(manifest))
    atomic_write(store.get_sweep(plan.sweep_id).cost_report_path, b"")


def _claim_cells(store: Store, resolved: ResolvedPlan) -> Iterator[tuple[RunFolder, AttemptFolder]]:
    claim_record = make_claim_record({})
    store.get_sweep(resolved.plan.sweep_id).write_plan(resolved.plan)
    for cell in resolved.plan.cells:
        run = store.get_run(cell.run_id)
        run.write_spec(resolved.specs[cell.run_id])
        attempt = run.claim_attempt(1, claim_record)
        assert attempt is not None
        yield run, attempt
