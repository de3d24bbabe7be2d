"""The stores of `front_door` for a checkout whose modules lie flat, from before the packages.

Runs in that checkout (working directory, and first in PYTHONPATH) and uses the names of its modules
and functions, which no longer exist here.

    python baseline_stores.py FOLDER STATUS_CELLS PLAN_CELLS REPORT_SEEDS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from unittest import mock

REPORT = (
    "import sys; from analysis import report; from uniclip.store import Store; "
    "report.build(Store(sys.argv[1]), sys.argv[2], force=True)"
)


def main(folder: Path, status_cells: int, plan_cells: int, report_seeds: int) -> None:
    """Write the stores below `folder` and print the commands as JSON."""
    for helpers in ("tests/slurm", "tests/analysis"):
        sys.path.insert(0, str(Path(helpers).resolve()))
    import fake_sweep
    import trivial_cell

    from ablations import plan as plans
    from sweeps import process, settings
    from uniclip.store import Store

    def plan_components(store: Path, num_cells: int):
        overrides = ["ablation=components", "seeds=1", f"store={store}"]
        num_arms = len(plans.make(settings.asked(overrides).request).plan.cells)
        overrides[1] = f"seeds={-(-num_cells // num_arms)}"
        return overrides, plans.make(settings.asked(overrides).request)

    status_overrides, resolved = plan_components(folder / "status", status_cells)
    store = Store(folder / "status")
    evaluations = resolved.plan.wanted()
    claim_record = process.owner({})
    store.sweep(resolved.plan.sweep).write_plan(resolved.plan)
    with mock.patch("os.fsync"):
        for cell in resolved.plan.cells:
            run = store.run(cell.run)
            run.publish_spec(resolved.specs[cell.run])
            attempt = run.claim(1, claim_record)
            trivial_cell.execute(run, {}, attempt, evaluations[run.id], lambda: False)
            attempt.end("trained")
    plan_overrides, planned = plan_components(folder / "plan", plan_cells)
    study = fake_sweep.Truth(seeds=tuple(range(report_seeds)))
    store, sweep_id = fake_sweep.make(folder / "report", study)
    num_cells = len(store.sweep(sweep_id).plan().cells)
    commands = {
        f"status of {len(resolved.plan.cells)} cells": ["sweep.py", "status", *status_overrides],
        f"plan of {len(planned.plan.cells)} cells": ["sweep.py", "plan", *plan_overrides],
        f"report of {num_cells} cells": ["-c", REPORT, str(store.root), sweep_id],
    }
    print(json.dumps(commands))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
