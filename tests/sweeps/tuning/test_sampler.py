"""Samplers of Optuna: suggestions are a function of the scores of earlier rounds."""

from __future__ import annotations

import sys
from typing import Any

import optuna
import pytest

from sweeps.tuning import sampler, study
from sweeps.tuning.definition import Study
from sweeps.tuning.search_space import Dimension
from tests.helpers import synthetic_study
from tests.helpers.synthetic_study import SPACE, make_study
from uniclip.errors import UserError
from uniclip.store import Trial, TuningRound

FAST_SAMPLERS = ("tpe", "cmaes", "qmc", "random")
DEFAULTS = {"train.learning_rate": 1e-3, "train.weight_decay": 0.5}


def run(tested_study: Study, rounds: list[TuningRound] | None = None) -> list[TuningRound]:
    """Run a study, of which some rounds may be recorded."""

    def load_round(number: int) -> TuningRound | None:
        return rounds[number] if rounds and number < len(rounds) else None

    return study.run_study(
        tested_study,
        lambda number, rung, params: synthetic_study.compute_results(tested_study, rung, params),
        load_round=load_round,
    )


def list_trials(rounds: list[TuningRound], arm: str = "low") -> list[Trial]:
    return study.list_arm_trials(rounds, arm)


@pytest.mark.parametrize("name", [*FAST_SAMPLERS, "gp"])
def test_a_study_continues_with_the_same_trials_after_every_round(name: str) -> None:
    changes: dict[str, Any] = {"arms": ("low",), "n_trials": 7} if name == "gp" else {}
    tested_study = make_study(sampler=name, initial_values=DEFAULTS, parallel_trials=2, **changes)
    undisturbed = run(tested_study)
    for num_rounds in (3,) if name == "gp" else range(1, len(undisturbed)):
        assert run(tested_study, undisturbed[:num_rounds]) == undisturbed
    assert list_trials(undisturbed)[0].params == DEFAULTS
    assert run(make_study(sampler=name, sampler_seed=1, **changes)) != undisturbed


def test_samplers_differ_after_the_first_trials() -> None:
    suggestions = {
        name: [t.params for t in list_trials(run(make_study(sampler=name)))]
        for name in FAST_SAMPLERS
    }
    for name in ("tpe", "cmaes"):
        assert (
            suggestions[name][: sampler.N_STARTUP_TRIALS]
            == (suggestions["random"][: sampler.N_STARTUP_TRIALS])
        )
    last = [str(params[-1]) for params in suggestions.values()]
    assert len(set(last)) == len(FAST_SAMPLERS)


@pytest.mark.parametrize("name", FAST_SAMPLERS)
def test_equal_arms_try_equal_values_under_every_sampler(name: str) -> None:
    rounds = run(make_study(sampler=name, arms=("low", "again"), n_trials=9))
    assert list_trials(rounds, "low") == list_trials(rounds, "again")


def test_the_rounds_of_quasi_monte_carlo_are_one_sequence_of_optuna() -> None:
    """That of a plain study: the first trial is independent, then come the points 0, 1, ..."""
    trials = list_trials(run(make_study(sampler="qmc", n_trials=9)))
    seed = sampler._derive_seed(make_study(), 0)
    plain = optuna.create_study(
        sampler=optuna.samplers.QMCSampler(scramble=True, seed=seed, qmc_type="sobol")
    )

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("train.learning_rate", 1e-4, 1e-1, log=True)
        return rate + trial.suggest_float("train.weight_decay", 0.0, 1.0)

    plain.optimize(objective, n_trials=9)
    for trial, plain_trial in list(zip(trials, plain.trials))[1:]:
        assert trial.params == pytest.approx(plain_trial.params, rel=1e-3)


@pytest.mark.parametrize("name", FAST_SAMPLERS)
def test_every_sampler_accepts_every_kind_of_key(name: str) -> None:
    space = {
        **SPACE,
        "width": Dimension(low=16, high=64, step=16),
        "precision": Dimension(choices=("fp32", "bf16")),
        "eps": Dimension(low=1e-8, high=1e-4, log=True, when={"precision": ["bf16"]}),
    }
    tested_study = make_study(sampler=name, space=space, n_trials=14, parallel_trials=2)
    rounds = run(tested_study)
    trials = list_trials(rounds)
    for trial in trials:
        assert all(space[key].contains(value) for key, value in trial.params.items())
        assert ("eps" in trial.params) == (trial.params["precision"] == "bf16")
    assert len({t.params["precision"] for t in trials}) == 2
    assert run(tested_study, rounds[:5]) == rounds


def test_options_are_arguments_of_the_sampler() -> None:
    few = make_study(sampler_options={"n_startup_trials": 1})
    assert list_trials(run(few))[:6] != list_trials(run(make_study()))[:6]
    wrong = make_study(sampler_options={"n_startup": 1})
    with pytest.raises(UserError, match="sampler_options=.*sampler=tpe does not accept") as error:
        sampler.build_sampler(wrong, 0)
    assert "n_startup" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler.require_packages("cmaes")
    monkeypatch.setitem(sys.modules, "cmaes", None)
    sampler.require_packages("gp")
    with pytest.raises(UserError, match="sampler=cmaes needs the package cmaes: pip install"):
        sampler.require_packages("cmaes")
