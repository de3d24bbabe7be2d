"""Suggestions of Optuna's samplers, as a function of the scores of earlier rounds.

The sampler is built anew in each round, with a seed that depends on the study and the round but not
on the arm: all arms start from the same values, and two arms that are the same function try the
same values to the end. TPE, GP and random search depend on the earlier trials alone. CMA-ES and
quasi-Monte Carlo also depend on attributes that they store with a trial when they suggest it: for
them the suggestions of earlier rounds are repeated, which takes milliseconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sweeps.tuning import distributions
from sweeps.tuning.definition import ParamValues, SamplerName, Study, make_options_error
from sweeps.tuning.options import check_option_types
from sweeps.tuning.search_space import is_conditional
from uniclip.errors import UserError
from uniclip.rng import derive_key
from uniclip.store import Trial

if TYPE_CHECKING:
    import optuna
    from optuna.samplers import BaseSampler

N_STARTUP_TRIALS = 6
"""Trials with random values before the sampler uses scores."""
ASKED_AGAIN = ("cmaes", "qmc")
"""Samplers whose suggestions depend on what they noted at earlier ones."""
REQUIRED_PACKAGES = {"cmaes": "cmaes"}
"""Sampler -> package that Optuna needs for it and does not install."""


def import_optuna() -> Any:
    """Return the module optuna without its messages; importing it takes a second."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    return optuna


def require_packages(sampler: SamplerName) -> None:
    """Raise `UserError` if the package of a sampler is not installed."""
    package = REQUIRED_PACKAGES.get(sampler)
    if package is not None and find_spec(package) is None:
        raise UserError(
            f"sampler={sampler} needs the package {package}: pip install {package}, or the extra "
            f"uniclip-ablations[{package}]"
        )


def check_options(study: Study) -> None:
    """Check the study's `sampler_options`: their types, and that the sampler suggests trials.

    A study in memory has a round of two trials with scores, and is asked for the next two.

    Raises:
        UserError: an argument does not exist, or the sampler does not accept its value.
    """
    options = study.sampler_options
    cls, arguments = _select_class(study, 0)
    check_option_types("sampler_options", cls, options)
    build_sampler(study, 0)
    arguments = {**arguments, **options}
    if "n_startup_trials" in arguments:
        options = {**options, "n_startup_trials": min(arguments["n_startup_trials"], 1)}
    trial_study = replace(study, sampler_options=options)
    try:
        trials = [
            Trial(number=number, params=params, rung_scores={"0": score}, completed=True, steps=1)
            for number, (params, score) in enumerate(
                zip(suggest_trials(trial_study, [], 2), (0.25, 0.5))
            )
        ]
        suggest_trials(trial_study, [trials], 2)
    except Exception as error:  # whatever the library raises for a value out of range
        raise _make_error(study, error) from None


def suggest_trials(
    study: Study, arm_rounds: Sequence[Sequence[Trial]], num_trials: int
) -> list[ParamValues]:
    """Return the values of an arm's next trials; the first of all are the initial values.

    Args:
        study: What determines the trials.
        arm_rounds: The arm's trials in each earlier round.
        num_trials: How many trials are suggested.
    """
    initial_trials = _list_initial_trials(study, len(arm_rounds))
    num_suggested = num_trials - len(initial_trials)
    optuna_study = _rebuild_study(study, arm_rounds)
    optuna_study.sampler = build_sampler(study, len(arm_rounds))
    suggestions = [
        distributions.suggest_params(optuna_study.ask(), study.space) for _ in range(num_suggested)
    ]
    return [*initial_trials, *suggestions]


def build_sampler(study: Study, round_number: int) -> BaseSampler:
    """Return the sampler of a round.

    Raises:
        UserError: it does not accept the study's `sampler_options`.
    """
    cls, arguments = _select_class(study, round_number)
    if study.sampler == "gp":
        _use_one_thread()
    try:
        sampler: BaseSampler = cls(**{**arguments, **study.sampler_options})
    except (TypeError, ValueError, AttributeError) as error:
        raise _make_error(study, error) from None
    return sampler


def _select_class(study: Study, round_number: int) -> tuple[type[BaseSampler], dict[str, Any]]:
    """Return the class of a study's sampler, and its arguments before those of the user."""
    samplers = import_optuna().samplers
    seed = _derive_seed(study, round_number)
    shared = {"seed": seed, "n_startup_trials": N_STARTUP_TRIALS}
    quiet = {"warn_independent_sampling": False}
    is_multivariate = study.sampler_options.get("multivariate", True)
    group = {"group": True} if is_conditional(study.space) and is_multivariate else {}
    classes: dict[str, tuple[type[BaseSampler], dict[str, Any]]] = {
        "tpe": (
            samplers.TPESampler,
            {**shared, "multivariate": True, "constant_liar": True, **group},
        ),
        "gp": (samplers.GPSampler, {**shared, **quiet}),
        "cmaes": (samplers.CmaEsSampler, {**shared, **quiet}),
        # one sequence for all rounds: its seed is that of the first
        "qmc": (
            samplers.QMCSampler,
            {
                "scramble": True,
                "seed": _derive_seed(study, 0),
                "independent_sampler": samplers.RandomSampler(seed=seed),
                **quiet,
            },
        ),
        "random": (samplers.RandomSampler, {"seed": seed}),
    }
    return classes[study.sampler]


def _make_error(study: Study, error: Exception) -> UserError:
    name = f"sampler={study.sampler}"
    return make_options_error("sampler_options", name, study.sampler_options, error)


def _list_initial_trials(study: Study, round_number: int) -> list[ParamValues]:
    """Return the trials of a round that no sampler suggests."""
    return [] if round_number or study.initial_values is None else [study.initial_values]


def _rebuild_study(study: Study, arm_rounds: Sequence[Sequence[Trial]]) -> optuna.Study:
    """Return an arm's study in memory after some rounds."""
    optuna_study: optuna.Study = import_optuna().create_study(
        storage=import_optuna().storages.InMemoryStorage(), direction="maximize"
    )
    for round_number, trials in enumerate(arm_rounds):
        asked_trials: Sequence[Trial] = ()
        if study.sampler in ASKED_AGAIN:
            asked_trials = trials[len(_list_initial_trials(study, round_number)) :]
        for trial in trials[: len(trials) - len(asked_trials)]:
            _add_trial(optuna_study, study, trial)
        if asked_trials:
            optuna_study.sampler = build_sampler(study, round_number)
            _ask_again(optuna_study, study, asked_trials)
    return optuna_study


def _add_trial(optuna_study: optuna.Study, study: Study, trial: Trial) -> None:
    optuna = import_optuna()
    trial_state = optuna.trial.TrialState
    optuna_study.add_trial(
        optuna.trial.create_trial(
            params=distributions.encode_params(study.space, trial.params),
            distributions=distributions.build_distributions(study.space, trial.params),
            state=trial_state.COMPLETE if trial.completed else trial_state.PRUNED,
            value=trial.score if trial.completed else None,
            intermediate_values={int(rung): s for rung, s in trial.rung_scores.items()},
        )
    )


def _ask_again(optuna_study: optuna.Study, study: Study, trials: Sequence[Trial]) -> None:
    """Ask the sampler for trials that are recorded, and tell it their scores.

    The suggested values are replaced by the recorded ones, which are rounded.
    """
    trial_state = import_optuna().trial.TrialState
    optuna_trials = [optuna_study.ask() for _ in trials]
    for optuna_trial, trial in zip(optuna_trials, trials):
        distributions.suggest_params(optuna_trial, study.space)
        params = distributions.encode_params(study.space, trial.params)
        space = distributions.build_distributions(study.space, trial.params)
        for key, distribution in space.items():
            optuna_study._storage.set_trial_param(
                optuna_trial._trial_id,
                key,
                distribution.to_internal_repr(params[key]),
                distribution,
            )
    for optuna_trial, trial in zip(optuna_trials, trials):
        for rung, score in trial.rung_scores.items():
            optuna_trial.report(score, int(rung))
        if trial.completed:
            optuna_study.tell(optuna_trial, trial.score)
        else:
            optuna_study.tell(optuna_trial, state=trial_state.PRUNED)


def _derive_seed(study: Study, round_number: int) -> int:
    return derive_key("tuning", study.sampler_seed, round_number) % 2**32


def _use_one_thread() -> None:
    """Let torch use one thread: sums of several may differ in the last bits between machines."""
    import torch

    torch.set_num_threads(1)
