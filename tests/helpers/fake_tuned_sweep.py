"""A synthetic sweep of default arms, and the sweep of the same arms after tuning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip import rng
from uniclip.store import Cell, Plan, Store, Trial, TunedArm, Tuning, TuningRound

KEY = "train.learning_rate"
"""The tuned hyper-parameter."""
DIMENSIONS: dict[str, dict[str, Any]] = {
    KEY: {"low": 1e-4, "high": 1e-1, "log": True, "choices": None, "step": None, "when": None},
    "train.precision": {"low": None, "high": None, "log": False, "choices": ["fp32", "bf16"]},
    "train.adam_eps": {
        **{"low": 1e-8, "high": 1e-4, "log": True, "choices": None},
        "when": {"train.precision": "bf16"},
    },
}
"""Search space of `save_trials`, with a conditional key."""


def build_tuned_arm(arm: str, number: int) -> TunedArm:
    """Return a tuned arm: odd ones are at a boundary, and the default of `clip` was pruned."""
    best = Trial(
        number=number,
        params={KEY: 1e-3 * (1 + number)},
        rung_scores={"0": 0.5},
        completed=True,
        steps=200,
    )
    return TunedArm(
        arm=arm,
        best_trial=best,
        default_score=None if arm == "clip" else 0.4,
        n_trials=12,
        n_pruned=2,
        n_diverged=1,
        steps=2200 + 200 * (arm == "clip"),
        at_boundary={KEY: "upper"} if number % 2 else {},
    )


def build_tuned_plan(default: Plan, seeds: tuple[int, ...] = (1000,)) -> Plan:
    arms = tuple(build_tuned_arm(a.name, i) for i, a in enumerate(default.arms))
    cells = tuple(
        Cell(arm=c.arm, seed=c.seed, run_id=f"{rng.derive_key('tuned', c.arm, c.seed):016x}")
        for c in default.cells
    )
    tuning = Tuning(
        default_sweep=default.sweep_id,
        space="optimizer",
        pruner="median",
        n_trials=12,
        seeds=seeds,
        arms=arms,
    )
    return replace(default, sweep_id="components-quick-tuned-5e6f7a8b", cells=cells, tuning=tuning)


def make_tuned_sweep(
    root: Path, better: float = 0.1, seeds: tuple[int, ...] = (1000,)
) -> tuple[Store, Plan]:
    """Write a sweep of default arms, and one of tuned arms that are better except for clip."""
    store, sweep = fake_sweep.make(root, Truth())
    default = store.get_sweep(sweep).read_plan()
    assert default is not None
    plan = build_tuned_plan(default, seeds)
    store.get_sweep(plan.sweep_id).write_plan(plan)
    with mock.patch("os.fsync"):
        for cell in plan.cells:
            lift = 0.0 if "clip" in cell.arm else 2 * better
            fake_sweep.write_run(store, plan, cell, Truth(effects={"awareness": lift}))
    return store, plan


def make_trial(arm: str, number: int) -> Trial:
    """Return a trial of an arm; the last of each four is pruned."""
    draws = [rng.derive_key("trial", arm, number, i) % 1000 / 1000 for i in range(3)]
    params: dict[str, Any] = {
        KEY: float(f"{10 ** (-4 + 3 * draws[0]):.4g}"),
        "train.precision": "bf16" if number % 2 else "fp32",
    }
    if number % 2:
        params["train.adam_eps"] = float(f"{10 ** (-8 + 4 * draws[1]):.4g}")
    return Trial(
        number=number,
        params=params,
        rung_scores={"0": round(1 - abs(draws[0] - 0.5), 4)},
        completed=number % 4 != 3,
        steps=200,
    )


def save_trials(store: Store, plan: Plan, n_trials: int) -> Plan:
    """Write rounds of trials for a tuned plan, and return the plan that names them."""
    assert plan.tuning is not None
    folder = store.get_study(plan.tuning.default_sweep, "space-1a2b3c4d")
    with mock.patch("os.fsync"):
        for number in range(n_trials):
            trials = {arm.name: (make_trial(arm.name, number),) for arm in plan.arms}
            folder.save_round(TuningRound(number=number, trials=trials))
    tuning = replace(plan.tuning, study="space-1a2b3c4d", dimensions=DIMENSIONS)
    plan = replace(plan, tuning=tuning)
    store.get_sweep(plan.sweep_id).write_plan(plan)
    return plan
