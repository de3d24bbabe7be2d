"""Command lines and prices of what a review proposes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis.review.finding import CommandWords, Finding, Remedy
from sweeps.costs.estimate import CostEstimate
from sweeps.review.proposal import (
    Price,
    build_proposal,
    describe_price,
    estimate_price,
)
from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.commands.definition import EXECUTOR
from uniclip.store import Store

PLAN = replace(
    fake_sweep.plan(Truth()), overrides=("ablation=components", "train.steps=200", "n_trials=3")
)
STORE = Store("store")
ESTIMATES = {
    arm: CostEstimate(seconds=seconds, low=1.0, high=9.0, source="probe")
    for arm, seconds in (("full", 600.0), ("clip", 300.0))
}


def make_remedy(**runs: float) -> Remedy:
    """Return a remedy of these runs."""
    command = CommandWords(changes=("seeds=[0,1]",))
    return Remedy(description="more seeds", commands=(command,), runs=runs)


def test_a_price_sums_runs_by_arm() -> None:
    price = estimate_price(make_remedy(full=2, clip=0.5), ESTIMATES, 1)
    assert price == Price(num_runs=2.5, num_evaluations=0, seconds=1350, gpu_hours=0.375)
    text = describe_price(price, {"full": 2, "clip": 0.5})
    assert text == (
        "2.5 runs of this sweep (full 2, clip 0.5): about 22 min on one worker, 0.38 GPU-hours"
    )
    unknown = estimate_price(make_remedy(none=1), ESTIMATES, 1)
    assert (unknown.seconds, unknown.gpu_hours) == (None, None)
    assert "not measured (plan --probe measures it)" in describe_price(unknown, {"none": 1})
    assert estimate_price(make_remedy(full=1), ESTIMATES, 0).gpu_hours is None
    assert describe_price(estimate_price(make_remedy(), {}, 0), {}) == "nothing to run"


def test_a_proposal_has_commands_as_a_shell_reads_them() -> None:
    finding = Finding(
        check="too_few_seeds",
        title="t",
        severity="major",
        evidence=("e",),
        reason="r",
        remedy=make_remedy(full=1),
    )
    proposal = build_proposal(finding, STORE, PLAN, ESTIMATES, 0)
    assert proposal.command_lines == (f"run {PLAN.sweep_id} 'seeds=[0,1]'",)
    assert proposal.price.seconds == 600


@pytest.mark.parametrize(
    ("changes", "checkpoint", "is_listed"),
    [
        (("seeds=[0,1]",), "", True),
        (("seeds=[0]", "train.steps=800"), "", False),
        (("benchmark=[cifar10]",), "", False),
        (("benchmark=[cifar10]",), "last.pt", True),
    ],
)
def test_another_program_has_no_keys_of_training(
    changes: tuple[str, ...], checkpoint: str, is_listed: bool
) -> None:
    runtime = {"command": {"definition": {"checkpoint": checkpoint}}}
    plan = replace(PLAN, executor=EXECUTOR, base_config={**PLAN.base_config, "runtime": runtime})
    remedy = Remedy(description="d", commands=(CommandWords(changes=changes),), runs={})
    finding = Finding(
        check="c", title="t", severity="minor", evidence=("e",), reason="r", remedy=remedy
    )
    assert bool(build_proposal(finding, STORE, plan, {}, 0).command_lines) == is_listed
    tuning = replace(remedy, commands=(CommandWords(command="tune", changes=("n_trials=8",)),))
    tuned = build_proposal(replace(finding, remedy=tuning), STORE, plan, {}, 0)
    assert not tuned.command_lines, "tune sets no values of a command"
