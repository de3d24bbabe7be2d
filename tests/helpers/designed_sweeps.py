"""Synthetic sweeps of any design: the plan is of the design, scores are a formula of the arms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

from ablations import designs
from ablations.plan.predictions import compute_predictions_digest, resolve_predictions
from ablations.schema import Ablation, ArmDefinition
from analysis.results.results import Results
from tests.helpers import fake_sweep
from tests.helpers.analyzed_sweeps import analyze_sweep
from tests.helpers.designs import DECLARED
from tests.helpers.fake_sweep import Truth
from uniclip import rng
from uniclip.store import Arm, Cell, Plan, Store

ScoreFunction = Callable[[Arm], float]


def make_arm(name: str, definition: ArmDefinition, ablation: Ablation) -> Arm:
    """Return an arm as a plan has it."""
    components = [n for n in ablation.components if n not in definition.doses]
    return Arm(
        name=name,
        label=definition.label or name,
        role=definition.role,
        levels={n: n not in definition.components_off for n in components},
        config_diff={},
        doses=definition.doses,
    )


def make_plan(ablation: Ablation, truth: Truth) -> Plan:
    """Return the plan of an ablation of the letters of `tests.helpers.designs`."""
    arms = tuple(make_arm(n, a, ablation) for n, a in designs.build_arms(ablation).items())
    contrasts = designs.build_contrasts(ablation, DECLARED, [a.name for a in arms])
    plan = replace(
        fake_sweep.plan(truth),
        sweep_id=f"{ablation.design}-quick-1a2b3c4d",
        design=ablation.design,
        arms=arms,
        reference=ablation.reference,
        components=designs.select_components(
            ablation, DECLARED, designs.build_arms(ablation).values()
        ),
        contrasts=contrasts,
        orders=designs.build_orders(ablation),
        fold_overs=designs.build_fold_overs(ablation),
        predictions=resolve_predictions(ablation, contrasts),
        cells=tuple(
            Cell(arm=a.name, seed=s, run_id=fake_sweep.run_id(a.name, s))
            for s in truth.seeds
            for a in arms
        ),
        evaluation_hashes={a.name: {"openmoji": fake_sweep.EVALUATION} for a in arms},
        forward_passes={a.name: {"image": 1.0, "text": 1.0} for a in arms},
    )
    return replace(plan, predictions_digest=compute_predictions_digest(plan))


def write_sweep(root: Path, ablation: Ablation, score: ScoreFunction, truth: Truth) -> Plan:
    """Write a finished sweep of an ablation into a new store; return its plan."""
    store, plan = Store(root), make_plan(ablation, truth)
    store.get_sweep(plan.sweep_id).write_plan(plan)

    def compute_level(sweep_plan: Plan, cell: Cell, truth: Truth) -> float:
        key = rng.derive_key("draw", cell.arm, cell.seed)
        draw = np.random.Generator(np.random.Philox(key=key)).normal(0, truth.noise)
        return score(sweep_plan.get_arm(cell.arm)) + float(draw)

    with mock.patch.object(fake_sweep, "level", compute_level), mock.patch("os.fsync"):
        for cell in plan.cells:
            fake_sweep.write_run(store, plan, cell, truth)
    return plan


def analyze_design(
    root: Path,
    ablation: Ablation,
    score: ScoreFunction,
    truth: Truth = Truth(),  # noqa: B008
) -> Results:
    """Write a finished sweep of an ablation, and analyze it."""
    plan = write_sweep(root, ablation, score, truth)
    return analyze_sweep(Store(root), plan.sweep_id)
