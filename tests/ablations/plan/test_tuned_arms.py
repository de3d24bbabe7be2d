"""Plans of trials and of tuned arms: configurations, diffs and run ids."""

from __future__ import annotations

import pytest

from ablations.plan import tuned_arms
from ablations.plan.plan import ResolvedPlan
from tests.helpers.plans import SCENES, plan_from_words
from uniclip.errors import UserError
from uniclip.identity import compute_run_id
from uniclip.store import Trial, TunedArm, Tuning

RATES = {"full": 0.003, "clip": 0.004}


@pytest.fixture(scope="module")
def resolved_plan() -> ResolvedPlan:
    return plan_from_words(*SCENES, "arms=[full,clip]", "seeds=2")


def tuning(sweep_id: str) -> Tuning:
    arms = []
    for arm, rate in RATES.items():
        trial = Trial(
            number=1,
            params={"train.learning_rate": rate},
            rung_scores={"0": 0.5},
            completed=True,
            steps=10,
        )
        arms.append(
            TunedArm(
                arm=arm,
                best_trial=trial,
                default_score=0.4,
                n_trials=2,
                n_pruned=0,
                n_diverged=0,
                steps=20,
                at_boundary={},
            )
        )
    return Tuning(
        default_sweep=sweep_id, space="s", pruner="none", n_trials=2, seeds=(9,), arms=tuple(arms)
    )


def test_override_changes_one_key_and_refuses_an_unknown_one(resolved_plan: ResolvedPlan) -> None:
    config = resolved_plan.configs["full"]
    changed = tuned_arms.override_config(config, {"train.learning_rate": 0.5})
    assert (changed.train.learning_rate, changed.method) == (0.5, config.method)
    with pytest.raises(UserError, match=r"train\.learning_rat"):
        tuned_arms.override_config(config, {"train.learning_rat": 0.5})


def test_each_trial_is_an_arm_without_evaluations(resolved_plan: ResolvedPlan) -> None:
    trial_params = {arm: {0: {}, 1: {"train.learning_rate": rate}} for arm, rate in RATES.items()}
    trials = tuned_arms.build_trial_plan(
        resolved_plan, trial_params, sweep="trials", seeds=(9,), stop_fraction=0.5
    )
    plan = trials.plan
    assert [a.name for a in plan.arms] == ["full#0", "full#1", "clip#0", "clip#1"]
    assert plan.get_arm("clip#1").label == "CLIP, trial 1"
    assert plan.get_arm("full#0").config_diff == {}
    assert plan.get_arm("full#1").config_diff == {"train.learning_rate": 0.003}
    assert (plan.base_config["runtime"]["stop_fraction"], plan.contrasts) == (0.5, ())
    assert set(trials.specs) == {c.run_id for c in plan.cells}
    assert {c.seed for c in plan.cells} == {9}
    some = tuned_arms.select_runs(trials, [plan.cells[2].run_id])
    assert [a.name for a in some.plan.arms] == ["clip#0"] == [some.plan.reference]
    assert set(some.specs) == {plan.cells[2].run_id}


def test_tuned_arms_have_the_best_values_and_a_sweep_of_their_own(
    resolved_plan: ResolvedPlan,
) -> None:
    plan = resolved_plan.plan
    tuned = tuned_arms.build_tuned_plan(resolved_plan, tuning(plan.sweep_id))
    assert {n: c.train.learning_rate for n, c in tuned.configs.items()} == RATES
    assert tuned.plan.sweep_id.startswith("components-quick-tuned-")
    assert [c.name for c in tuned.plan.cells] == [c.name for c in plan.cells]
    assert not set(tuned.specs) & set(resolved_plan.specs)
    assert all(compute_run_id(spec) == run for run, spec in tuned.specs.items())
    assert tuned.plan.contrasts == plan.contrasts
