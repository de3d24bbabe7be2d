"""Pruning: the rules of synchronous rounds, and Optuna's pruners asked after every rung.

`median` stops a trial that is below the median of its arm's scores at a rung; `hyperband` (Li et
al., JMLR 2018) runs brackets of successive halving. A pruner of Optuna's own is asked for every
trial of a round after a rung, in the order of the trials, when the scores of all are reported. It
stores its decisions in a study in memory; the earlier rounds are reported to it again, so that the
decisions are a function of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from sweeps.tuning.definition import ETA, OPTUNA_PRUNERS, Study, TrialResult, make_options_error
from sweeps.tuning.options import check_option_types
from sweeps.tuning.sampler import import_optuna
from uniclip.errors import UserError
from uniclip.store import Trial

if TYPE_CHECKING:
    import optuna
    from optuna.pruners import BasePruner

MEDIAN_STARTUP_TRIALS = 4
"""Trials of an arm that the median rule never stops."""
DEFAULT_OPTIONS: dict[str, dict[str, Any]] = {
    "PercentilePruner": {"percentile": 25.0},
    "SuccessiveHalvingPruner": {"reduction_factor": ETA},
    "HyperbandPruner": {"reduction_factor": ETA},
    "PatientPruner": {"wrapped_pruner": None, "patience": 1},
}
"""Arguments that Optuna requires, and factors that fit the rungs."""
RungScores = dict[int, float]
"""Rung -> validation score."""


def select_survivors(
    study: Study,
    arm: str,
    arm_rounds: Sequence[Sequence[Trial]],
    results: Mapping[int, Mapping[int, TrialResult]],
    rung: int,
) -> list[int]:
    """Return the trials of a round that continue after a rung, in their order.

    Args:
        study: What determines the trials.
        arm: The arm.
        arm_rounds: The arm's trials in each earlier round.
        results: Trial of this round -> rung -> result so far.
        rung: The rung that was reached.

    Raises:
        UserError: Optuna's pruner does not accept the study's `pruner_options`.
    """
    rung_scores = {t: {r: m.score for r, m in rungs.items()} for t, rungs in results.items()}
    scores = {trial: values[rung] for trial, values in rung_scores.items() if rung in values}
    if study.pruner in OPTUNA_PRUNERS:
        return _ask_optuna(study, arm, arm_rounds, rung_scores, rung)
    if study.pruner == "hyperband":
        ranked_trials = sorted(scores, key=lambda t: (-scores[t], t))
        return sorted(ranked_trials[: max(1, len(scores) // ETA)])
    previous_trials = [trial for trials in arm_rounds for trial in trials]
    if len(previous_trials) < MEDIAN_STARTUP_TRIALS:
        threshold = -math.inf
    else:
        earlier = [t.rung_scores[str(rung)] for t in previous_trials if str(rung) in t.rung_scores]
        threshold = median([*earlier, *scores.values()])
    return [trial for trial, score in scores.items() if score >= threshold]


def check_options(study: Study) -> None:
    """Check the study's `pruner_options`: types, ranges, and that the pruner decides with them.

    Raises:
        UserError: an argument does not exist, or the pruner does not accept its value.
    """
    check_option_types("pruner_options", _get_class(study), study.pruner_options)
    build_pruner(study)
    if study.pruner == "HyperbandPruner":
        _check_resources(study)
    scores: RungScores = dict.fromkeys(range(len(study.rungs)), 0.5)
    trials = [
        Trial(
            number=number,
            params={},
            rung_scores={str(rung): score for rung, score in scores.items()},
            completed=True,
            steps=1,
        )
        for number in range(2)
    ]
    try:
        _ask_optuna(study, study.arms[0], [trials], {2: {0: 0.25}, 3: {0: 0.5}}, 0)
    except Exception as error:  # whatever the library raises for a value out of range
        raise _make_error(study, error) from None


def _check_resources(study: Study) -> None:
    """Raise `UserError` if Hyperband would have no bracket."""
    options = study.pruner_options
    min_resource, max_resource = options.get("min_resource", 1), options.get("max_resource", "auto")
    if min_resource < 1:
        raise UserError(f"pruner_options.min_resource must be at least 1, got {min_resource}")
    if max_resource == "auto":  # a step more than the longest trial of an arm
        num_rungs = len(study.rungs)
        max_resource = min(study.get_step(arm, num_rungs - 1) + 1 for arm in study.arms)
    if isinstance(max_resource, int) and max_resource < min_resource:
        raise UserError(
            f"pruner_options.min_resource must be at most max_resource, which is {max_resource}, "
            f"got {min_resource}"
        )


def build_pruner(study: Study) -> BasePruner:
    """Return the pruner of Optuna's that a study names.

    Raises:
        UserError: it does not accept the study's `pruner_options`.
    """
    arguments = {**DEFAULT_OPTIONS.get(study.pruner, {}), **study.pruner_options}
    try:
        pruner: BasePruner = _get_class(study)(**arguments)
    except (TypeError, ValueError) as error:
        raise _make_error(study, error) from None
    return pruner


def _get_class(study: Study) -> type[BasePruner]:
    cls: type[BasePruner] = getattr(import_optuna().pruners, study.pruner)
    return cls


def _make_error(study: Study, error: Exception) -> UserError:
    name = f"pruner={study.pruner}"
    return make_options_error("pruner_options", name, study.pruner_options, error)


def _ask_optuna(
    study: Study,
    arm: str,
    arm_rounds: Sequence[Sequence[Trial]],
    rung_scores: Mapping[int, RungScores],
    rung: int,
) -> list[int]:
    optuna = import_optuna()
    # Hyperband assigns a bracket by the study's name: it is the same for every arm
    optuna_study = optuna.create_study(
        study_name="tuning",
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=build_pruner(study),
    )
    for trials in arm_rounds:
        optuna_trials = {trial.number: optuna_study.ask() for trial in trials}
        earlier_scores = {
            t.number: {int(r): score for r, score in t.rung_scores.items()} for t in trials
        }
        _report(study, arm, optuna_trials, earlier_scores)
        for trial in trials:
            if trial.completed:
                optuna_study.tell(optuna_trials[trial.number], trial.score)
            else:
                optuna_study.tell(optuna_trials[trial.number], state=optuna.trial.TrialState.PRUNED)
    optuna_trials = {trial: optuna_study.ask() for trial in rung_scores}
    decisions = _report(study, arm, optuna_trials, rung_scores)
    return [trial for (trial, r), is_pruned in decisions.items() if r == rung and not is_pruned]


def _report(
    study: Study,
    arm: str,
    optuna_trials: Mapping[int, optuna.Trial],
    rung_scores: Mapping[int, RungScores],
) -> dict[tuple[int, int], bool]:
    """Report a round, rung by rung, and return (trial, rung) -> whether it is pruned."""
    decisions = {}
    for rung in sorted({r for scores in rung_scores.values() for r in scores}):
        trials = [trial for trial, scores in rung_scores.items() if rung in scores]
        for trial in trials:
            optuna_trials[trial].report(rung_scores[trial][rung], study.get_step(arm, rung))
        if rung < len(study.rungs) - 1:
            for trial in trials:
                decisions[trial, rung] = optuna_trials[trial].should_prune()
    return decisions
