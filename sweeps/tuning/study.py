"""A study: the trials of every arm, a function of their scores alone.

A study consists of synchronous rounds (ask and tell). Each round suggests a few trials of every
arm, trains them rung by rung, and records their scores in the order of the trials. The sampler
(TPE, Bergstra et al., NeurIPS 2011) is built anew in each round from the recorded trials, with a
seed that depends on the study and the round: a process that is killed and started again suggests
the same trials, wherever they run. The seed does not depend on the arm: all arms start from the
same values, and two arms that are the same function try the same values to the end.

Pruning is synchronous too. `median` stops a trial that is below the median of its arm's scores at
a rung; `hyperband` (Li et al., JMLR 2018) runs brackets of successive halving, which give every arm
the same number of steps whatever the scores are.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

from sweeps.tuning.search_space import ParamValue, SearchSpace
from uniclip.errors import UserError
from uniclip.rng import derive_key
from uniclip.store import Trial, TuningRound

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

N_STARTUP_TRIALS = 6
"""Trials with random values before the sampler uses scores."""
ETA = 3
"""Factor of the steps from one rung to the next, and of the trials that Hyperband stops."""
MEDIAN_STARTUP_TRIALS = 4
"""Trials of an arm that the median rule never stops."""

Pruner = Literal["none", "median", "hyperband"]
ParamValues = dict[str, ParamValue]
"""Key of the configuration -> value."""
TrialParams = dict[str, dict[int, ParamValues]]
"""Arm -> number of the trial -> its values."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """The result of a trial at a rung."""

    score: float
    """Validation score in [0, 1], the mean over the tuning seeds."""
    steps: int
    """Training steps from the start to this rung, all seeds together."""
    n_diverged: int = 0
    """Seeds whose run diverged."""


TrialRunner = Callable[[int, int, TrialParams], Mapping[str, Mapping[int, TrialResult]]]
"""Called with (round, rung, trials); trains them to the rung and returns arm -> trial -> result."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything besides the scores that determines the trials."""

    arms: tuple[str, ...]
    space: SearchSpace
    n_trials: int
    """Trials of each arm."""
    initial_values: ParamValues | None = None
    """Values of the first trial of every arm; None = sampled like the others."""
    parallel_trials: int = 1
    """Trials of each arm in a round (with Hyperband the bracket determines them)."""
    sampler_seed: int = 0
    pruner: Pruner = "none"
    rungs: tuple[float, ...] = (1.0,)
    """Fractions of the training steps after which trials are compared; the last is 1."""

    def get_bracket(self, round_number: int) -> tuple[int, int]:
        """Return the largest number of trials of each arm in a round, and their first rung."""
        if self.pruner != "hyperband":
            return self.parallel_trials, 0
        last_rung = len(self.rungs) - 1
        halvings = last_rung - round_number % (last_rung + 1)
        return math.ceil((last_rung + 1) / (halvings + 1) * ETA**halvings), last_rung - halvings


def run_study(
    study: Study,
    run_trials: TrialRunner,
    *,
    load_round: Callable[[int], TuningRound | None] = lambda round_number: None,
    save_round: Callable[[TuningRound], TuningRound] = lambda round_: round_,
) -> list[TuningRound]:
    """Run a study to its end and return its rounds.

    Args:
        study: What determines the trials.
        run_trials: Trains trials to a rung and returns their results.
        load_round: Returns a round that was saved before; it is not run again.
        save_round: Saves a round, and returns the round that is stored: that of another process
            if it was faster.
    """
    rounds: list[TuningRound] = []
    num_trials = 0  # of each arm, so far
    while num_trials < study.n_trials:
        round_number = len(rounds)
        rounds.append(
            load_round(round_number)
            or save_round(_run_round(study, rounds, round_number, num_trials, run_trials))
        )
        num_trials += len(rounds[-1].trials[study.arms[0]])
    return rounds


def list_arm_trials(rounds: Sequence[TuningRound], arm: str) -> list[Trial]:
    """Return the trials of an arm, in their order."""
    return [trial for round_ in rounds for trial in round_.trials[arm]]


def compute_rungs(pruner: str, num_validations: int) -> tuple[float, ...]:
    """Return the fractions of the training steps after which trials are compared.

    Args:
        pruner: "none", "median" or "hyperband".
        num_validations: Validations of a run.

    Raises:
        UserError: the pruner needs more validations.
    """
    if pruner == "none":
        return (1.0,)
    if num_validations < ETA:
        raise UserError(
            f"pruner={pruner} needs {ETA} validations a run, there would be {num_validations}: "
            "set train.validate_every lower"
        )
    num_lower_rungs = math.floor(math.log(num_validations, ETA) + 1e-9)
    return (*(ETA**-i for i in range(num_lower_rungs, 0, -1)), 1.0)


def _run_round(
    study: Study,
    rounds: Sequence[TuningRound],
    round_number: int,
    trial_offset: int,
    run_trials: TrialRunner,
) -> TuningRound:
    """Suggest the trials of a round, train them from rung to rung, and return their results."""
    bracket_size, first_rung = study.get_bracket(round_number)
    num_trials = min(bracket_size, study.n_trials - trial_offset)
    previous_trials = {arm: list_arm_trials(rounds, arm) for arm in study.arms}
    trial_params: TrialParams = {}
    for arm in study.arms:
        suggestions = _suggest_params(study, previous_trials[arm], num_trials, round_number)
        trial_params[arm] = dict(enumerate(suggestions, start=trial_offset))
    last_rung = len(study.rungs) - 1
    active_params = trial_params
    results: dict[tuple[str, int], dict[int, TrialResult]] = {}  # (arm, trial) -> rung -> result
    for rung in range(first_rung, last_rung + 1):
        rung_results = run_trials(round_number, rung, active_params)
        for arm, arm_params in active_params.items():
            for trial in arm_params:
                results.setdefault((arm, trial), {})[rung] = rung_results[arm][trial]
        if rung < last_rung:
            survivors = {
                arm: _select_survivors(study, rung, rung_results[arm], previous_trials[arm])
                for arm in active_params
            }
            active_params = {
                arm: {trial: trial_params[arm][trial] for trial in trials}
                for arm, trials in survivors.items()
                if trials
            }
        if not active_params:
            break
    return TuningRound(
        number=round_number,
        trials={
            arm: tuple(
                _build_trial(trial, values, results[arm, trial], last_rung)
                for trial, values in arm_params.items()
            )
            for arm, arm_params in trial_params.items()
        },
    )


def _build_trial(
    number: int,
    values: ParamValues,
    rung_results: Mapping[int, TrialResult],
    last_rung: int,
) -> Trial:
    last_result = rung_results[max(rung_results)]
    return Trial(
        number=number,
        params=values,
        rung_scores={str(rung): m.score for rung, m in rung_results.items()},
        completed=last_rung in rung_results,
        steps=last_result.steps,
        n_diverged=last_result.n_diverged,
    )


def _select_survivors(
    study: Study,
    rung: int,
    rung_results: Mapping[int, TrialResult],
    previous_trials: Sequence[Trial],
) -> list[int]:
    """Return the trials that continue after a rung, in their order."""
    if study.pruner == "hyperband":
        ranked_trials = sorted(rung_results, key=lambda t: (-rung_results[t].score, t))
        return sorted(ranked_trials[: max(1, len(rung_results) // ETA)])
    scores = [t.rung_scores[str(rung)] for t in previous_trials if str(rung) in t.rung_scores]
    scores += [m.score for m in rung_results.values()]
    threshold = median(scores) if len(previous_trials) >= MEDIAN_STARTUP_TRIALS else -math.inf
    return [t for t, m in rung_results.items() if m.score >= threshold]


# ---- the sampler ---------------------------------------------------------------------------------


def _suggest_params(
    study: Study, previous_trials: Sequence[Trial], num_trials: int, round_number: int
) -> list[ParamValues]:
    """Return the values of an arm's next trials; the first of all are the initial values."""
    if not previous_trials and study.initial_values is not None:
        return [
            study.initial_values,
            *_sample_params(study, previous_trials, num_trials - 1, round_number),
        ]
    return _sample_params(study, previous_trials, num_trials, round_number)


def _sample_params(
    study: Study, previous_trials: Sequence[Trial], num_trials: int, round_number: int
) -> list[ParamValues]:
    """Return values that the sampler suggests, given the scores of earlier trials."""
    import optuna  # here: it takes a second to import

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = _build_distributions(study.space)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=derive_key("tuning", study.sampler_seed, round_number) % 2**32,
            n_startup_trials=N_STARTUP_TRIALS,
            multivariate=True,
            constant_liar=True,
        )
    optuna_study = optuna.create_study(direction="maximize", sampler=sampler)
    trial_state = optuna.trial.TrialState
    for trial in previous_trials:
        encoded_params = {k: _encode_value(study.space, k, v) for k, v in trial.params.items()}
        optuna_study.add_trial(
            optuna.trial.create_trial(
                params=encoded_params,
                distributions=distributions,
                state=trial_state.COMPLETE if trial.completed else trial_state.PRUNED,
                value=trial.score if trial.completed else None,
                intermediate_values={int(rung): s for rung, s in trial.rung_scores.items()},
            )
        )
    suggestions = [optuna_study.ask(distributions).params for _ in range(num_trials)]
    return [
        {k: _decode_value(study.space, k, v) for k, v in params.items()} for params in suggestions
    ]


def _build_distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    distributions: dict[str, BaseDistribution] = {}
    for name, dimension in space.items():
        if dimension.choices is not None:
            # by position: a choice may be a list, which Optuna does not accept
            distributions[name] = CategoricalDistribution(tuple(range(len(dimension.choices))))
        else:
            low, high = dimension.bounds
            if dimension.is_integer:
                distributions[name] = IntDistribution(int(low), int(high), log=dimension.log)
            else:
                distributions[name] = FloatDistribution(low, high, log=dimension.log)
    return distributions


def _encode_value(space: SearchSpace, name: str, value: ParamValue) -> ParamValue:
    choices = space[name].choices
    return value if choices is None else choices.index(value)


def _decode_value(space: SearchSpace, name: str, suggested_value: ParamValue) -> ParamValue:
    choices = space[name].choices
    return space[name].round_value(suggested_value) if choices is None else choices[suggested_value]
