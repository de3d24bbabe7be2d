"""A study: the trials of every arm, a function of their scores alone.

A study consists of synchronous rounds (ask and tell). Each round suggests a few trials of every
arm (`sweeps.tuning.sampler`), trains them rung by rung, stops poor ones (`sweeps.tuning.pruner`),
and records the scores in the order of the trials. A process that is killed and started again
suggests the same trials, wherever they run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sweeps.tuning.definition import ParamValues, Study, TrialParams, TrialResult
from sweeps.tuning.pruner import select_survivors
from sweeps.tuning.sampler import suggest_trials
from uniclip.store import Trial, TuningRound

TrialRunner = Callable[[int, int, TrialParams], Mapping[str, Mapping[int, TrialResult]]]
"""Called with (round, rung, trials); trains them to the rung and returns arm -> trial -> result."""


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
    arm_rounds = {arm: [round_.trials[arm] for round_ in rounds] for arm in study.arms}
    trial_params: TrialParams = {}
    for arm in study.arms:
        suggestions = suggest_trials(study, arm_rounds[arm], num_trials)
        trial_params[arm] = dict(enumerate(suggestions, start=trial_offset))
    last_rung = len(study.rungs) - 1
    active_params = trial_params
    results: dict[str, dict[int, dict[int, TrialResult]]] = {}  # arm -> trial -> rung -> result
    for rung in range(first_rung, last_rung + 1):
        rung_results = run_trials(round_number, rung, active_params)
        for arm, arm_params in active_params.items():
            for trial in arm_params:
                rungs = results.setdefault(arm, {}).setdefault(trial, {})
                rungs[rung] = rung_results[arm][trial]
        if rung < last_rung:
            survivors = {
                arm: select_survivors(study, arm, arm_rounds[arm], results[arm], rung)
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
                _build_trial(trial, values, results[arm][trial], last_rung)
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
