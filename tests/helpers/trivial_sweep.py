"""A sweep of trivial cells (`trivial_cell.py`).

    python -m tests.helpers.trivial_sweep <store> <cells> [seconds per cell] [key=value ...]

As a script it is a controller that stays until all cells have ended.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ablations.plan.plan import ResolvedPlan
from sweeps.config.schema import SlurmLauncherConfig, SweepConfig
from sweeps.controller.controller import SweepController
from sweeps.costs.audit_scope import compute_audit_key
from sweeps.monitor.display import Display
from tests.helpers.trivial_cell import EVALUATIONS
from uniclip.config.binding import bind
from uniclip.identity import compute_run_id
from uniclip.io.atomic import atomic_write
from uniclip.store import Arm, AuditRecord, Cell, Plan, PrimaryMetric, Store
from uniclip.store.json_io import to_json_bytes


def planned(cells: int, seconds: float) -> ResolvedPlan:
    """Return a plan with one arm and a seed for each cell."""
    specs = {s: {"config": {"seed": s, "seconds": seconds}, "data": {}} for s in range(cells)}
    arm = Arm(name="only", label="only", role="crossed", levels={}, config_diff={})
    plan = Plan(
        sweep_id="trivial-smoke-00000000",
        ablation="trivial",
        title="trivial cells",
        budget="smoke",
        data="none",
        design="crossed",
        arms=(arm,),
        reference="only",
        components=(),
        contrasts=(),
        primary_metric=PrimaryMetric(dataset="nothing", metric="zero"),
        seeds=tuple(specs),
        cells=tuple(
            Cell(arm="only", seed=s, run_id=compute_run_id(spec)) for s, spec in specs.items()
        ),
        evaluation_hashes={"only": EVALUATIONS},
        missing_datasets={},
        base_config={"train": {"num_threads": 1}, "runtime": {"device": "cpu"}, "benchmark": []},
        executor="tests.helpers.trivial_cell",
    )
    return ResolvedPlan(plan=plan, configs={}, specs={compute_run_id(s): s for s in specs.values()})


def pass_audit(store: Store, plan: Plan) -> None:
    """Write a passed audit for this code and the plan's device."""
    audit_key = compute_audit_key(plan)
    audit = AuditRecord(
        checks=(), training_hash=audit_key.training_hash, device_type=audit_key.device_type
    )
    atomic_write(store.get_sweep(plan.sweep_id).audit_path, to_json_bytes(audit))


def run_sweep(store: Store, cells: int, seconds: float, overrides: list[str]) -> bool:
    """Run a controller on Slurm; `overrides` are keys of the launcher. Return whether all ended."""
    values = dict(override.split("=") for override in overrides)
    launcher = {"name": "slurm", "cells_per_job": 1, "poll_seconds": 0.5, "timeout_min": 30}
    launcher |= {k: int(v) if v.isdecimal() else v for k, v in values.items()}
    settings = SweepConfig(launcher=bind(SlurmLauncherConfig, launcher), wait=True)
    resolved_plan = planned(cells, seconds)
    pass_audit(store, resolved_plan.plan)
    return SweepController(
        store=store, resolved_plan=resolved_plan, settings=settings, display=Display()
    ).run()


if __name__ == "__main__":
    store_root, count, *rest = sys.argv[1:]
    seconds = float(rest[0]) if rest else 0.0
    assert run_sweep(Store(Path(store_root)), int(count), seconds, rest[1:])
