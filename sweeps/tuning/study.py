"""A study: which points of a space every arm tries next, a function of the scores alone.

Asking and telling go in synchronous rounds. Each round asks for a few trials of every arm, has them
trained rung by rung, and tells their scores in the order of the trials. The sampler (TPE, Bergstra
et al., NeurIPS 2011) is built anew each round from what was told, under a seed that the study and
the round name: so who is killed and starts again asks for the same trials, wherever they run. The
seed does not name the arm: arms start from the same points, and two that are one function try the
same points to the end.

Pruning is synchronous too. `median` stops a trial that is below the median of its arm's scores at
a rung; `hyperband` (Li et al., JMLR 2018) is brackets of successive halving, in which every arm is
given the same steps whatever the scores are.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from sweeps.tuning.search_space import SearchSpace
from uniclip.errors import UserError
from uniclip.rng import derive_key
from uniclip.store import Trial, TuningRound

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

N_STARTUP_TRIALS = 6
"""Trials at random before the sampler looks at scores."""
ETA = 3
"""From rung to rung the steps are multiplied by it, and in Hyperband the trials divided."""
MEDIAN_STARTUP_TRIALS = 4
"""Trials of an arm that no median stops."""

TrialParams = dict[str, dict[int, dict[str, Any]]]
"""Arm -> number of a trial -> its values."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a trial came to at a rung."""

    score: float
    """Mean over the tuning seeds, in [0, 1]."""
    steps: int
    """Training steps behind it, all seeds together, from the start."""
    diverged: int = 0


TrialRunner = Callable[[int, int, TrialParams], Mapping[str, Mapping[int, TrialResult]]]
"""(round, rung, points) -> what each came to there."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """What decides the trials, beside the scores."""

    arms: tuple[str, ...]
    space: SearchSpace
    n_trials: int
    """For each arm."""
    initial_values: dict[str, Any] | None = None
    """The first trial of every arm; None = drawn like the others."""
    parallel_trials: int = 1
    """Trials of each arm in a round (Hyperband's brackets have sizes of their own)."""
    sampler_seed: int = 0
    pruner: Literal["none", "median", "hyperband"] = "none"
    rungs: tuple[float, ...] = field(default=(1.0,))
    """Shares of the steps after which trials are compared; the last is 1."""

    def get_bracket(self, round_number: int) -> tuple[int, int]:
        """How many trials of each arm round `number` asks for at most, and their first rung."""
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
    """All rounds of a study: those that `recall` knows, then those that are measured and told."""
    rounds: list[TuningRound] = []
    num_trials = 0
    while num_trials < study.n_trials:
        round_number = len(rounds)
        rounds.append(
            load_round(round_number)
            or save_round(_run_round(study, rounds, round_number, num_trials, run_trials))
        )
        num_trials += len(rounds[-1].trials[study.arms[0]])
    return rounds


def list_arm_trials(rounds: Sequence[TuningRound], arm: str) -> list[Trial]:
    """The trials of an arm, in their order."""
    return [trial for round_ in rounds for trial in round_.trials[arm]]


def compute_rungs(pruner: str, num_validations: int) -> tuple[float, ...]:
    """Shares of the steps after which trials are compared, for runs with so many validations.

    Raises `UserError` if a pruner has no validation to go by before the end.
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
    """Ask for the trials of a round, bring them from rung to rung, and say what they came to."""
    bracket_size, first_rung = study.get_bracket(round_number)
    num_trials = min(bracket_size, study.n_trials - trial_offset)
    previous_trials = {arm: list_arm_trials(rounds, arm) for arm in study.arms}
    trial_params = {
        a: dict(
            enumerate(
                _suggest_params(study, previous_trials[a], num_trials, round_number), trial_offset
            )
        )
        for a in study.arms
    }
    last_rung = len(study.rungs) - 1
    active_params: TrialParams = trial_params
    results_by_trial: dict[tuple[str, int], dict[int, TrialResult]] = {}
    for rung in range(first_rung, last_rung + 1):
        rung_results = run_trials(round_number, rung, active_params)
        for arm, arm_params in active_params.items():
            for trial in arm_params:
                results_by_trial.setdefault((arm, trial), {})[rung] = rung_results[arm][trial]
        if rung < last_rung:
            survivors = {
                a: _select_survivors(study, rung, rung_results[a], previous_trials[a])
                for a in active_params
            }
            active_params = {
                a: {t: trial_params[a][t] for t in survivors[a]}
                for a in active_params
                if survivors[a]
            }
        if not active_params:
            break
    trials = {
        arm: tuple(
            _build_trial(t, values, results_by_trial[arm, t], last_rung)
            for t, values in arm_params.items()
        )
        for arm, arm_params in trial_params.items()
    }
    return TuningRound(number=round_number, trials=trials)


def _build_trial(
    trial_number: int,
    values: dict[str, Any],
    rung_results: Mapping[int, TrialResult],
    last_rung: int,
) -> Trial:
    last_result = rung_results[max(rung_results)]
    return Trial(
        number=trial_number,
        params=values,
        rung_scores={str(rung): m.score for rung, m in rung_results.items()},
        completed=last_rung in rung_results,
        steps=last_result.steps,
        n_diverged=last_result.diverged,
    )


def _select_survivors(
    study: Study,
    rung: int,
    rung_results: Mapping[int, TrialResult],
    previous_trials: Sequence[Trial],
) -> list[int]:
    """The trials that go on from a rung, in their order."""
    if study.pruner == "hyperband":
        ranked_trials = sorted(rung_results, key=lambda t: (-rung_results[t].score, t))
        return sorted(ranked_trials[: max(1, len(rung_results) // ETA)])
    scores = [t.rung_scores[str(rung)] for t in previous_trials if str(rung) in t.rung_scores]
    scores += [m.score for m in rung_results.values()]
    threshold = median(scores) if len(previous_trials) >= MEDIAN_STARTUP_TRIALS else -math.inf
    return [t for t, m in rung_results.items() if m.score >= threshold]


# ---- the sampler ---------------------------------------------------------------------------------


def _suggest_params(
    study: Study, previous_trials: Sequence[Trial], num_points: int, round_number: int
) -> list[dict[str, Any]]:
    """The next `count` points of an arm, of which `told` is known."""
    if not previous_trials and study.initial_values is not None:
        return [
            study.initial_values,
            *_sample_params(study, previous_trials, num_points - 1, round_number),
        ]
    return _sample_params(study, previous_trials, num_points, round_number)


def _sample_params(
    study: Study, previous_trials: Sequence[Trial], num_points: int, round_number: int
) -> list[dict[str, Any]]:
    import optuna  # here: nothing but a tuning needs it

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
    suggestions = [optuna_study.ask(distributions).params for _ in range(num_points)]
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
            # By position: a choice may be a list, which Optuna does not keep.
            distributions[name] = CategoricalDistribution(tuple(range(len(dimension.choices))))
        else:
            low, high = dimension.bounds
            distributions[name] = (IntDistribution if dimension.is_integer else FloatDistribution)(
                low, high, log=dimension.log
            )
    return distributions


def _encode_value(space: SearchSpace, name: str, value: Any) -> Any:
    choices = space[name].choices
    return value if choices is None else choices.index(value)


def _decode_value(space: SearchSpace, name: str, suggested_value: Any) -> Any:
    choices = space[name].choices
    return space[name].round_value(suggested_value) if choices is None else choices[suggested_value]
