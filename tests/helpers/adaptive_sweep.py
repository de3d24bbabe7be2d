"""An adaptive sweep of trivial cells (`trivial_cell.py`), whose scores are in their specs.

    python -m tests.helpers.adaptive_sweep <store> [max_gpu_hours]

As a script it runs the sweep to its end, from wherever an earlier one was killed.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from ablations.plan.plan import ResolvedPlan
from sweeps.config.adaptive_seeds import apply_margin, make_adaptive
from sweeps.config.request import SweepRequest
from sweeps.config.schema import LocalLauncherConfig, SweepConfig
from sweeps.controller.controller import SweepController
from sweeps.controller.sweep_run import run_cells
from sweeps.monitor.display import Display
from tests.helpers.trivial_cell import EVALUATIONS
from tests.helpers.trivial_sweep import pass_audit, planned
from uniclip.identity import compute_run_id
from uniclip.store import Arm, Cell, CellPrices, Contrast, Plan, PrimaryMetric, Store

EFFECTS = {"off0": 0.0, "off1": 0.05, "off2": 0.2}
"""Arm without a component -> effect of the component."""
ARMS = ("full", *EFFECTS)
MARGIN, NOISE, MAX_SEEDS = 0.03, 0.025, 12
PRICE = 0.5
"""GPU-hours of a cell."""
CELL_SECONDS, NUM_SAMPLES = 0.3, 1_000_000


def build_full_plan() -> ResolvedPlan:
    """Return the plan with every arm and each of `MAX_SEEDS` seeds."""
    generator = random.Random("adaptive sweep")
    cells, specs = [], {}
    for seed in range(MAX_SEEDS):
        shared = generator.gauss(0.5, 0.03)
        for arm in ARMS:
            score = shared - EFFECTS.get(arm, 0.0) + generator.gauss(0, NOISE / 2**0.5)
            config = {"seed": seed, "arm": arm, "score": score, "num_samples": NUM_SAMPLES}
            config["seconds"] = CELL_SECONDS
            spec = {"config": config, "data": {}}
            cells.append(Cell(arm=arm, seed=seed, run_id=compute_run_id(spec)))
            specs[cells[-1].run_id] = spec
    contrasts = tuple(
        Contrast(name=arm, label=arm, kind="main", weights={"full": 1.0, arm: -1.0}, primary=True)
        for arm in EFFECTS
    )
    plan = replace(
        planned(1, 0.0).plan,
        sweep_id="adaptive-smoke-00000000",
        arms=tuple(
            Arm(name=arm, label=arm, role="crossed", levels={}, config_diff={}) for arm in ARMS
        ),
        reference="full",
        contrasts=contrasts,
        primary_metric=PrimaryMetric(dataset="nothing", metric="zero"),
        seeds=tuple(range(MAX_SEEDS)),
        cells=tuple(cells),
        evaluation_hashes=dict.fromkeys(ARMS, EVALUATIONS),
    )
    return ResolvedPlan(plan=apply_margin(plan, MARGIN), configs={}, specs=specs)


@dataclass(frozen=True)
class TrivialRequest:
    """What stands for the request of a command line."""

    store: Store
    max_gpu_hours: float | None = None

    def build_plan(self) -> ResolvedPlan:
        """Return the plan with the cells that are bought so far."""
        return make_adaptive(
            build_full_plan(),
            self.store,
            max_seeds=MAX_SEEDS,
            max_gpu_hours=self.max_gpu_hours,
        )


def run_sweep(store: Store, max_gpu_hours: float | None = None) -> Plan:
    """Run the sweep to its end, and return its plan."""
    request = TrivialRequest(store, max_gpu_hours)
    resolved_plan = request.build_plan()
    pass_audit(store, resolved_plan.plan)
    if max_gpu_hours is not None:
        prices = CellPrices(gpu_hours=dict.fromkeys(ARMS, PRICE), source="test")
        store.get_sweep(resolved_plan.plan.sweep_id).fix_cell_prices(prices)
    controller = SweepController(
        store=store,
        resolved_plan=resolved_plan,
        settings=SweepConfig(launcher=LocalLauncherConfig(max_workers=2)),
        display=Display(redraws=False),
    )
    run_cells(controller, cast(SweepRequest, request))
    return controller.plan


if __name__ == "__main__":
    store_root, *limits = sys.argv[1:]
    run_sweep(Store(Path(store_root)), *map(float, limits))
