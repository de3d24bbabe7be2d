"""Synthetic sweeps of several labs, whose run ids are the hashes of their specs."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.identity import compute_run_id
from uniclip.store import Plan, Store
from uniclip.store.json_io import to_json_bytes

WEIGHTS_DIGEST = "w" * 32


def make_lab(root: Path, truth: Truth) -> tuple[Store, Plan]:
    """Write the synthetic sweep of a lab into a new store; return the store and the plan."""
    store, sweep_id = fake_sweep.make(root, truth)
    plan = store.get_sweep(sweep_id).read_plan()
    assert plan is not None
    cells = []
    for cell in plan.cells:
        spec = {"config": {"seed": cell.seed, "arm": cell.arm}, "data": {}}
        run_id = compute_run_id(spec)
        cells.append(dataclasses.replace(cell, run_id=run_id))
        old = store.get_run(cell.run_id)
        if old.path.exists():
            os.rename(old.path, store.get_run(run_id).path)
            run = store.get_run(run_id)
            (run.path / "spec.json").write_bytes(to_json_bytes(spec))
            edit_json(run.path / "outcome.json", weights_digest=WEIGHTS_DIGEST)
            for path in run.list_score_paths():
                edit_json(path, weights_digest=WEIGHTS_DIGEST)
    plan = dataclasses.replace(plan, cells=tuple(cells))
    store.get_sweep(sweep_id).write_plan(plan)
    return store, plan


def edit_json(path: Path, **changes: object) -> None:
    """Replace fields of a JSON file that exists."""
    if path.exists():
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, indent=1) + "\n")
