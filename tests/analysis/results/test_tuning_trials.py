"""Trials of a tuning: importances, and the tuning curve against a simulation and a recount."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from analysis.results import tuning_trials
from tests.helpers.analyzed_sweeps import analyze_sweep
from tests.helpers.fake_tuned_sweep import make_tuned_sweep, save_trials
from uniclip.store import Trial

SCORES = (0.5, 0.2, 0.9, 0.4, 0.6, 0.3)
DIMENSIONS = {
    "rate": {"low": 1e-4, "high": 1e-1, "log": True, "choices": None},
    "noise": {"low": 0.0, "high": 1.0, "log": False, "choices": None},
    "betas": {"low": None, "high": None, "choices": [[0.9, 0.98], [0.9, 0.999], None]},
}


def make_trial(number: int, score: float, *, completed: bool = True, **params: object) -> Trial:
    return Trial(
        number=number, params=params, rung_scores={"0": score}, completed=completed, steps=9
    )


def test_the_tuning_curve_is_the_mean_best_of_all_subsets() -> None:
    curve = tuning_trials.estimate_tuning_curve([make_trial(*pair) for pair in enumerate(SCORES)])
    for n in range(1, len(SCORES) + 1):
        best_scores = np.sort([max(subset) for subset in combinations(SCORES, n)])
        assert curve.expected[n - 1] == pytest.approx(best_scores.mean())
        for bound, quantile in zip((curve.low, curve.high), tuning_trials.BAND):
            expected = np.quantile(best_scores, quantile, method="inverted_cdf")
            assert bound[n - 1] == pytest.approx(expected)
    assert list(curve.observed) == [0.5, 0.5, 0.9, 0.9, 0.9, 0.9]
    assert curve.expected[-1] == curve.low[-1] == curve.high[-1] == 0.9


def test_pruned_trials_never_count_as_the_best() -> None:
    trials = [
        make_trial(0, 0.8, completed=False), make_trial(1, 0.4),
        make_trial(2, 0.6), make_trial(3, 0.1, completed=False),
    ]  # fmt: skip
    curve = tuning_trials.estimate_tuning_curve(trials)
    assert np.isnan(curve.observed[0])
    assert list(curve.observed[1:]) == [0.4, 0.6, 0.6]
    assert curve.expected[-1] == 0.6
    assert curve.expected[0] == pytest.approx((0.4 + 0.4 + 0.6 + 0.1) / 4)


def test_the_key_that_determines_the_score_is_the_important_one() -> None:
    generator = np.random.default_rng(0)
    trials = []
    for number in range(40):
        rate, noise = 10 ** generator.uniform(-4, -1), generator.uniform()
        betas = DIMENSIONS["betas"]["choices"][number % 3]  # type: ignore[index]
        score = float(np.exp(-((np.log10(rate) + 2) ** 2)))
        trials.append(make_trial(number, score, rate=rate, noise=noise, betas=betas))
    importances = tuning_trials.estimate_importances(trials, DIMENSIONS)
    assert importances.keys() == DIMENSIONS.keys()
    assert importances["rate"] > 0.7
    assert sum(importances.values()) == pytest.approx(1)
    assert tuning_trials.estimate_importances(trials, DIMENSIONS) == importances


def test_few_trials_or_equal_scores_have_no_importances() -> None:
    trials = [make_trial(n, 0.1 * n, rate=10.0**-n) for n in range(1, 4)]
    assert tuning_trials.estimate_importances(trials, DIMENSIONS) == {}
    equal = [make_trial(n, 0.5, rate=1e-2) for n in range(9)]
    assert tuning_trials.estimate_importances(equal, DIMENSIONS) == {}


@pytest.mark.parametrize(
    ("key", "value", "position"),
    [("rate", 1e-4, 0), ("rate", 1e-1, 1), ("rate", 10**-2.5, 0.5), ("noise", 0.25, 0.25),
     ("betas", [0.9, 0.999], 0.5), ("betas", None, 1)],
)  # fmt: skip
def test_values_have_a_position_in_their_range(key: str, value: object, position: float) -> None:
    assert tuning_trials.scale_value(DIMENSIONS[key], value) == pytest.approx(position)


def test_trials_are_read_from_the_rounds_of_the_store(tmp_path: Path) -> None:
    store, plan = make_tuned_sweep(tmp_path)
    assert analyze_sweep(store, plan.sweep_id).tuning_trials is None, "of an earlier version"
    plan = save_trials(store, plan, n_trials=6)
    results = analyze_sweep(store, plan.sweep_id).tuning_trials
    assert results is not None
    assert results.trials.keys() == {arm.name for arm in plan.arms}
    assert all([t.number for t in trials] == list(range(6)) for trials in results.trials.values())
    frame = tuning_trials.build_trial_frame(results)
    assert len(frame) == 6 * len(plan.arms)
    assert set(frame["state"]) == {"complete", "pruned"}
    assert set(results.dimensions) <= set(frame.columns)
