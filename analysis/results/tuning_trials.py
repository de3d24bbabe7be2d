"""Trials of a tuning: importance of each hyper-parameter, and the best score against trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.statistics.effects import Floats
from uniclip.store import Plan, Store, Trial

MIN_TRIALS = 5
"""Completed trials of an arm below which no importance is estimated."""
BAND = (0.1, 0.9)
"""Quantiles of the best score between which the band of a tuning curve lies."""


@dataclass(frozen=True, kw_only=True)
class TuningCurve:
    """The best score of n trials, for n = 1, ..., N. All arrays have the shape (N,)."""

    expected: Floats
    """Expected best score of n trials that are drawn from the N of the tuning, none twice."""
    low: Floats
    high: Floats
    """Quantiles `BAND` of the best score of such n trials."""
    observed: Floats
    """Best score of the first n trials in their order; NaN while none was completed."""


@dataclass(frozen=True, kw_only=True)
class TuningTrials:
    """The trials of all arms of a tuning."""

    trials: dict[str, list[Trial]]
    """Arm -> trials in their order."""
    dimensions: dict[str, dict[str, Any]]
    """Key -> its values in the search space (`uniclip.store.Tuning`)."""
    importances: dict[str, dict[str, float]]
    """Arm -> key -> share of the importance; only arms with enough trials of different scores."""

    @property
    def curves(self) -> dict[str, TuningCurve]:
        """Arm -> tuning curve, of arms with a completed trial."""
        return {
            arm: estimate_tuning_curve(trials)
            for arm, trials in self.trials.items()
            if any(t.completed for t in trials)
        }


def collect_tuning_trials(store: Store, plan: Plan) -> TuningTrials | None:
    """Read the trials of a tuned plan; None for other plans, and if they are not in the store."""
    if plan.tuning is None or not plan.tuning.study:
        return None
    folder = store.get_study(plan.tuning.default_sweep, plan.tuning.study)
    trials: dict[str, list[Trial]] = {arm.arm: [] for arm in plan.tuning.arms}
    number = 0
    while (round_ := folder.read_round(number)) is not None:
        for arm, arm_trials in round_.trials.items():
            trials.setdefault(arm, []).extend(arm_trials)
        number += 1
    if not any(trials.values()):
        return None
    dimensions = plan.tuning.dimensions
    importances = {arm: estimate_importances(t, dimensions) for arm, t in trials.items()}
    return TuningTrials(
        trials=trials,
        dimensions=dimensions,
        importances={arm: values for arm, values in importances.items() if values},
    )


def build_trial_frame(tuning_trials: TuningTrials) -> pd.DataFrame:
    """Return a row per trial: arm, number, score, state, steps, and a column per key."""
    return pd.DataFrame(
        [
            {
                "arm": arm,
                "trial": trial.number + 1,
                "score": trial.score,
                "state": "complete" if trial.completed else "pruned",
                "steps": trial.steps,
                "num_diverged": trial.n_diverged,
                **{key: trial.params.get(key) for key in tuning_trials.dimensions},
            }
            for arm, trials in tuning_trials.trials.items()
            for trial in trials
        ]
    )


def scale_value(dimension: Mapping[str, Any], value: Any) -> float:
    """Return the position of a value in its range: 0 at `low`, 1 at `high`, in the log if so.

    A choice has its position among the choices, from 0 for the first to 1 for the last.
    """
    choices = dimension.get("choices")
    if choices is not None:
        return list(choices).index(value) / (len(choices) - 1)
    low, high = float(dimension["low"]), float(dimension["high"])
    if dimension.get("log"):
        return math.log(float(value) / low) / math.log(high / low)
    return (float(value) - low) / (high - low)


def estimate_importances(
    trials: Sequence[Trial], dimensions: Mapping[str, Mapping[str, Any]]
) -> dict[str, float]:
    """Return key -> importance, which sum to 1, by PED-ANOVA (Watanabe et al., IJCAI 2023).

    Empty if fewer than `MIN_TRIALS` trials were completed, or all have the same score.
    """
    completed = [t for t in trials if t.completed]
    keys = [k for k in dimensions if any(k in t.params for t in completed)]
    if len(completed) < MIN_TRIALS or len({t.score for t in completed}) < 2 or not keys:
        return {}
    import optuna  # here: it takes a second to import

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    # ranges are scaled to [0, 1], and choices are positions: a choice may be a list
    spaces = {key: _build_distribution(dimensions[key]) for key in keys}
    for trial in completed:
        values = {
            key: _encode_value(dimensions[key], trial.params[key])
            for key in keys
            if key in trial.params
        }
        study.add_trial(
            optuna.trial.create_trial(
                params=values, distributions={k: spaces[k] for k in values}, value=trial.score
            )
        )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    estimates = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {key: float(estimates.get(key, 0.0)) for key in keys}


def estimate_tuning_curve(trials: Sequence[Trial]) -> TuningCurve:
    """Return the expected best score against the number of trials, with a band.

    It is the quantity of Dodge et al. (EMNLP 2019) with the unbiased estimator of Tang et al. (ACL
    2020): the mean best score over all subsets of n trials. It describes a random search; of other
    samplers, whose later trials depend on the earlier ones, it describes the values that were
    tried. A pruned trial counts as at most the worst completed one.

    Args:
        trials: Trials of one arm, of which at least one was completed.
    """
    worst_completed = min(t.score for t in trials if t.completed)
    scores = np.array([t.score if t.completed else min(t.score, worst_completed) for t in trials])
    sorted_scores, num_trials = np.sort(scores), len(scores)
    expected, bounds = [], []
    for n in range(1, num_trials + 1):
        # the probability that the best of n lies among the i lowest: C(i, n) / C(N, n)
        ways = np.array([math.comb(i, n) / math.comb(num_trials, n) for i in range(num_trials + 1)])
        expected.append(float(np.diff(ways) @ sorted_scores))
        positions = np.searchsorted(ways[1:], np.array(BAND) - 1e-12)
        bounds.append(sorted_scores[np.minimum(positions, num_trials - 1)])
    completed_scores = np.array([t.score if t.completed else -np.inf for t in trials])
    observed = np.maximum.accumulate(completed_scores)
    low, high = np.array(bounds).T
    return TuningCurve(
        expected=np.array(expected),
        low=low,
        high=high,
        observed=np.where(np.isfinite(observed), observed, np.nan),
    )


def _build_distribution(dimension: Mapping[str, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    choices = dimension.get("choices")
    if choices is not None:
        return CategoricalDistribution(tuple(range(len(choices))))
    return FloatDistribution(0.0, 1.0)


def _encode_value(dimension: Mapping[str, Any], value: Any) -> float:
    choices = dimension.get("choices")
    if choices is not None:
        return list(choices).index(value)
    return min(max(scale_value(dimension, value), 0.0), 1.0)
