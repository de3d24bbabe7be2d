"""Arguments of Optuna's samplers and pruners: what cannot be used is one line, before training."""

from __future__ import annotations

from typing import Any

import pytest

from sweeps.tuning import pruner, sampler
from tests.helpers.refusals import refused
from tests.helpers.synthetic_study import STEPS, make_study

RUNG_STEPS = tuple(round(STEPS * fraction) for fraction in (1 / 9, 1 / 3, 1.0))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("tpe", {"seed": 7}, "sampler_options.seed: .*: write sampler_seed=<number>"),
        ("random", {"seed": 7}, "write sampler_seed=<number>"),
        ("tpe", {"n_startup_trials": "abc"}, "n_startup_trials must be a whole number, got 'abc'"),
        ("gp", {"n_startup_trials": 2.5}, "n_startup_trials must be a whole number, got 2.5"),
        ("cmaes", {"popsize": True}, "popsize must be a whole number or null, got True"),
        ("tpe", {"constant_liar": "yes"}, "constant_liar must be true or false, got 'yes'"),
        ("tpe", {"gamma": 3}, "sampler_options.gamma takes an object of Python.*: leave it out"),
        ("tpe", {"weights": "uniform"}, "weights takes an object"),
        ("gp", {"constraints_func": "f"}, "constraints_func takes an object"),
        ("qmc", {"independent_sampler": "random"}, "independent_sampler takes an object"),
        ("cmaes", {"x0": {"a": 1}}, "x0 takes an object"),
        ("qmc", {"qmc_type": "latin"}, "sampler=qmc does not accept them: .*halton"),
        ("tpe", {"n_ei_candidates": 0}, "sampler=tpe does not accept them: "),
        ("cmaes", {"popsize": 0}, "sampler=cmaes does not accept them: "),
    ],
)
def test_arguments_that_a_sampler_cannot_use_are_one_line(
    name: str, options: dict[str, Any], message: str
) -> None:
    study = make_study(sampler=name, sampler_options=options)
    refused(message, sampler.check_options, study)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tpe", {"n_startup_trials": 50, "multivariate": False, "gamma": None}),
        ("cmaes", {"with_margin": True, "popsize": 4, "independent_sampler": None}),
        ("qmc", {"qmc_type": "halton", "scramble": False}),
    ],
)
def test_arguments_of_plain_values_are_accepted(name: str, options: dict[str, Any]) -> None:
    sampler.check_options(make_study(sampler=name, sampler_options=options))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("PatientPruner", {"wrapped_pruner": "median"}, "wrapped_pruner takes an object of Python"),
        ("MedianPruner", {"n_startup_trials": "abc"}, "must be a whole number, got 'abc'"),
        ("SuccessiveHalvingPruner", {"min_resource": 1.5}, "min_resource must be .*got 1.5"),
        ("HyperbandPruner", {"min_resource": 5, "max_resource": 3}, "max_resource, which is 3"),
        ("HyperbandPruner", {"min_resource": 92}, "max_resource, which is 91, got 92"),
        ("HyperbandPruner", {"min_resource": 0}, "min_resource must be at least 1, got 0"),
        ("HyperbandPruner", {"reduction_factor": 1}, "pruner=HyperbandPruner does not accept"),
    ],
)
def test_arguments_that_a_pruner_cannot_use_are_one_line(
    name: str, options: dict[str, Any], message: str
) -> None:
    steps = dict.fromkeys(("low", "high"), RUNG_STEPS)
    study = make_study(name, pruner_options=options, rung_steps=steps)
    refused(message, pruner.check_options, study)


def test_resources_up_to_the_longest_trial_are_accepted() -> None:
    steps = dict.fromkeys(("low", "high"), RUNG_STEPS)
    for options in ({"min_resource": 91}, {"min_resource": 3, "max_resource": 3}):
        study = make_study("HyperbandPruner", pruner_options=options, rung_steps=steps)
        pruner.check_options(study)
