"""Pruners of Optuna, asked after every rung: decisions are a function of the scores."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest

from sweeps.tuning import pruner, study
from sweeps.tuning.definition import OPTUNA_PRUNERS, Study
from tests.helpers import synthetic_study
from tests.helpers.synthetic_study import STEPS, make_study
from uniclip.errors import UserError
from uniclip.store import TuningRound

OPTIONS = {"ThresholdPruner": {"lower": 0.2}, "PatientPruner": {"patience": 0, "min_delta": 0.2}}


def make_pruned_study(name: str, **changes: Any) -> Study:
    steps = tuple(round(STEPS * f) for f in (1 / 9, 1 / 3, 1.0))
    options = {"pruner_options": OPTIONS.get(name, {}), "n_trials": 16, "parallel_trials": 2}
    values = {**options, "rung_steps": dict.fromkeys(("low", "high"), steps), **changes}
    return make_study(name, **values)


def run(tested_study: Study, rounds: tuple[TuningRound, ...] = ()) -> list[TuningRound]:
    return study.run_study(
        tested_study,
        lambda number, rung, params: synthetic_study.compute_results(tested_study, rung, params),
        load_round=lambda number: rounds[number] if number < len(rounds) else None,
    )


@pytest.mark.parametrize("name", OPTUNA_PRUNERS)
def test_a_study_continues_with_the_same_decisions_after_every_round(name: str) -> None:
    tested_study = make_pruned_study(name)
    undisturbed = run(tested_study)
    for num_rounds in range(1, len(undisturbed)):
        assert run(tested_study, tuple(undisturbed[:num_rounds])) == undisturbed
    if name != "PatientPruner":  # scores of the synthetic arms never fall
        trials = study.list_arm_trials(undisturbed, "low")
        assert {t.completed for t in trials} == {True, False}


def test_the_median_pruner_stops_what_optuna_documents() -> None:
    """Below the median of the completed trials at the same step, from the fifth of them on."""
    trials = study.list_arm_trials(run(make_pruned_study("MedianPruner", parallel_trials=1)), "low")
    assert all(t.completed for t in trials[:5])
    for trial in trials[5:]:
        completed = [t for t in trials[: trial.number] if t.completed]
        for rung in ("0", "1"):
            if rung in trial.rung_scores:
                threshold = median(t.rung_scores[rung] for t in completed)
                best = max(trial.rung_scores[r] for r in ("0", "1")[: int(rung) + 1])
                assert (best < threshold) == (max(trial.rung_scores) == rung)


def test_options_are_arguments_of_the_pruner() -> None:
    tested_study = make_pruned_study("MedianPruner")
    changed = make_study("MedianPruner", pruner_options={"n_startup_trials": 1})
    assert run(tested_study) != run(changed)
    for options, reason in (({"lower": 1, "wrong": 2}, "wrong"), ({}, "lower")):
        wrong = make_study("ThresholdPruner", pruner_options=options)
        with pytest.raises(UserError, match="pruner=ThresholdPruner does not accept") as error:
            pruner.build_pruner(wrong)
        assert reason in str(error.value)
        assert "\n" not in str(error.value)
