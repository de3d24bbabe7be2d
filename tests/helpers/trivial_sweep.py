"""A sweep of trivial cells (`trivial_cell.py`).

    python trivial.py <store> <cells> [seconds of a cell] [launcher word ...]

As a script it is a controller that stays until all cells are done.
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
    """One arm, and a seed for each cell."""
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
    """Have the arms count as proven."""
    meant = compute_audit_key(plan)
    audit = AuditRecord(checks=(), training_hash=meant.training_hash, device_type=meant.device_type)
    atomic_write(store.get_sweep(plan.sweep_id).audit_path, to_json_bytes(audit))


def conduct(store: Store, cells: int, seconds: float, words: list[str]) -> bool:
    """Be a controller; words: fields of the Slurm launcher."""
    given = dict(word.split("=") for word in words)
    launcher = {"name": "slurm", "cells_per_job": 1, "poll_seconds": 0.5, "timeout_min": 30}
    launcher |= {k: int(v) if v.isdecimal() else v for k, v in given.items()}
    settings = SweepConfig(launcher=bind(SlurmLauncherConfig, launcher), wait=True)
    asked = planned(cells, seconds)
    pass_audit(store, asked.plan)
    return SweepController(
        store=store, resolved_plan=asked, settings=settings, display=Display()
    ).run()


if __name__ == "__main__":
    place, count, *rest = sys.argv[1:]
    takes = float(rest[0]) if rest else 0.0
    assert conduct(Store(Path(place)), int(count), takes, rest[1:])
