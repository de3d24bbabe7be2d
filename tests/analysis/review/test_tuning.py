"""Findings on hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from analysis.review.checks import review_sweep
from analysis.review.finding import Finding
from analysis.review.tuning import list_open_bounds, move_beyond_bounds
from tests.helpers.reviewed_sweeps import (
    OTHER,
    REFERENCE,
    Story,
    assert_commands_are_valid,
    assert_only_finding,
    write_sweep,
)
from uniclip.store import Plan, Store, Tuning


@dataclass(frozen=True)
class TunedSweep:
    """A sweep of tuned arms."""

    store: Store
    plan: Plan
    tuning: Tuning

    def review(self, **changes: object) -> Finding:
        """Return the only finding if the arms had been tuned otherwise."""
        tuning = replace(self.tuning, **changes)  # type: ignore[arg-type]
        plan = replace(self.plan, tuning=tuning)
        self.store.get_sweep(plan.sweep_id).write_plan(plan)
        (finding,) = review_sweep(self.store, plan)
        assert_commands_are_valid(self.store, plan, [finding])
        return finding


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> TunedSweep:
    store, _ = write_sweep(tmp_path_factory.mktemp("tuned"), Story())
    plans = [folder.read_plan() for folder in store.iter_sweeps()]
    (plan,) = [p for p in plans if p is not None and p.tuning is not None]
    assert plan.tuning is not None
    return TunedSweep(store, plan, plan.tuning)


def test_arms_that_nobody_tuned(tmp_path: Path) -> None:
    finding = assert_only_finding(tmp_path, "untuned_arms")
    assert finding.remedy.runs == {REFERENCE: 13, OTHER: 13}


def test_an_arm_that_was_tuned_less(tuned: TunedSweep) -> None:
    first, second = tuned.tuning.arms
    finding = tuned.review(arms=(first, replace(second, n_trials=2)))
    assert finding.check == "untuned_arms"
    assert finding.evidence == (f"trials: {REFERENCE} 8, {OTHER} 2",)
    assert finding.remedy.runs == {OTHER: 6}


def test_a_lower_bound_of_0_has_nothing_beyond(tuned: TunedSweep) -> None:
    arm = tuned.tuning.arms[0]
    params = {"train.weight_decay": 0.0, "train.learning_rate": 1e-4}
    arm = replace(
        arm,
        best_trial=replace(arm.best_trial, params=params),
        at_boundary=dict.fromkeys(params, "lower"),
    )
    assert list_open_bounds(arm) == {"train.learning_rate": "lower"}


def test_an_optimum_at_a_bound(tuned: TunedSweep) -> None:
    first, second = tuned.tuning.arms
    best = replace(second.best_trial, params={"train.learning_rate": 2e-2})
    at_bound = replace(second, best_trial=best, at_boundary={"train.learning_rate": "upper"})
    finding = tuned.review(arms=(first, at_bound))
    assert finding.check == "optimum_at_boundary"
    assert finding.evidence == (
        f"{OTHER}: train.learning_rate=0.02 is at the upper bound of 0.0002 to 0.02",
    )
    (command,) = finding.remedy.commands
    assert "train.learning_rate=0.04" in command.changes
    assert finding.remedy.runs == {OTHER: 1}


@pytest.mark.parametrize(
    ("value", "side", "moved"),
    [(-10.0, "lower", "-20.0"), (-2.0, "upper", "-1.0"), (2.0, "lower", "1.0"), (3, "upper", "4")],
)
def test_a_value_is_moved_out_of_the_space(
    tuned: TunedSweep, value: float, side: str, moved: str
) -> None:
    arm = tuned.tuning.arms[0]
    best = replace(arm.best_trial, params={"loss.bias": value})
    at_bound = replace(arm, best_trial=best, at_boundary={"loss.bias": side})
    assert move_beyond_bounds(at_bound, tuned.tuning) == [f"loss.bias={moved}"]


def test_a_seed_that_chose_the_values_and_is_in_the_table(tuned: TunedSweep) -> None:
    finding = tuned.review(seeds=(3, 1000))
    assert finding.check == "reused_tuning_seeds"
    assert finding.evidence == ("seeds 3 of the table chose the values",)
    assert finding.remedy.commands[0].changes == ("seeds=[0,1,2,4,5]",)
    finding = tuned.review(seeds=(3, 5, 6))
    assert finding.remedy.commands[0].changes == ("seeds=[0,1,2,4,7]",), "5 and 6 are of the tuning"
