"""A study: planted optima are found with one budget; trials are a function of the scores."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from sweeps.tuning import study
from sweeps.tuning.definition import Study, TrialParams, TrialResult
from sweeps.tuning.search_space import Dimension
from tests.helpers import synthetic_study
from tests.helpers.synthetic_study import OPTIMA, SPACE, compute_score, make_study
from uniclip.store import Store, StudyFolder, Trial, TuningRound

KILLS = 20 if os.environ.get("UNICLIP_SOAK") else 3
PRUNERS = ("none", "median", "hyperband")


Results = dict[str, dict[int, TrialResult]]


def run_to_end(
    tested_study: Study, calls: list[tuple[int, int, TrialParams]] | None = None
) -> Mapping[str, list[Trial]]:
    """Return the trials of each arm after a study with synthetic scores."""

    def run_trials(number: int, rung: int, trial_params: TrialParams) -> Results:
        if calls is not None:
            calls.append((number, rung, trial_params))
        return synthetic_study.compute_results(tested_study, rung, trial_params)

    rounds = study.run_study(tested_study, run_trials)
    return {arm: study.list_arm_trials(rounds, arm) for arm in tested_study.arms}


def find_best(trials: list[Trial]) -> Trial:
    return max((t for t in trials if t.completed), key=lambda t: t.score)


# ---- results -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pruner", PRUNERS)
def test_planted_optima_are_found_with_the_same_budget_for_each_arm(pruner: str) -> None:
    trials_by_arm = run_to_end(make_study(pruner, n_trials=40))
    for arm, trials in trials_by_arm.items():
        assert len(trials) == 40
        rate, decay = (find_best(trials).params[k] for k in SPACE)
        assert abs(math.log10(rate / OPTIMA[arm][0])) < 0.25, (arm, rate)
        assert abs(decay - OPTIMA[arm][1]) < 0.15, (arm, decay)
    if pruner != "median":
        assert len({sum(t.steps for t in trials) for trials in trials_by_arm.values()}) == 1


def test_the_sampler_is_better_than_random_values() -> None:
    """Over several seeds, at the same budget."""
    gains = []
    for seed in range(4):
        trials = run_to_end(make_study(n_trials=24, sampler_seed=seed))["low"]
        gains.append(sum(t.score for t in trials[12:]) - sum(t.score for t in trials[:12]))
    assert sum(gains) > 0
    assert sum(gain > 0 for gain in gains) >= 3


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_pruning_saves_steps(pruner: str) -> None:
    complete, pruned = (
        run_to_end(make_study(n_trials=34)),
        run_to_end(make_study(pruner, n_trials=34)),
    )
    for arm in complete:
        assert sum(t.steps for t in pruned[arm]) < 0.9 * sum(t.steps for t in complete[arm])
        assert any(not t.completed for t in pruned[arm])


# ---- what trials depend on -----------------------------------------------------------------------


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("parallel_trials", [1, 3])
def test_the_same_study_suggests_the_same_trials(pruner: str, parallel_trials: int) -> None:
    tested_study = make_study(pruner, parallel_trials=parallel_trials)
    assert run_to_end(tested_study) == run_to_end(tested_study)
    assert run_to_end(tested_study) != run_to_end(
        make_study(pruner, parallel_trials=parallel_trials, sampler_seed=1)
    )


def test_arms_that_are_the_same_function_try_the_same_values() -> None:
    first, second = run_to_end(make_study(arms=("low", "again"))).values()
    assert first == second


def test_a_longer_study_begins_with_the_same_trials() -> None:
    few, many = run_to_end(make_study(n_trials=8)), run_to_end(make_study(n_trials=14))
    for arm in few:
        assert many[arm][:8] == few[arm]


def test_the_default_values_are_tried_first() -> None:
    default_values = {"train.learning_rate": 1e-3, "train.weight_decay": 0.5}
    for trials in run_to_end(make_study(n_trials=3, initial_values=default_values)).values():
        assert trials[0].params == default_values
        assert trials[1].params != default_values


def test_values_lie_in_the_space_and_have_its_types() -> None:
    mixed = {
        "integer": Dimension(low=2, high=9),
        "fraction": Dimension(low=0.0, high=0.3),
        "choice": Dimension(choices=([0.0, 1.0], [1.0, 1.0], None)),
    }
    trials = run_to_end(make_study(space=mixed, n_trials=20, parallel_trials=4))["low"]
    for trial in trials:
        assert all(mixed[k].contains(v) for k, v in trial.params.items())
        assert type(trial.params["integer"]) is int
        assert type(trial.params["fraction"]) is float
    assert {str(t.params["choice"]) for t in trials} >= {"None", "[0.0, 1.0]"}


# ---- pruning -------------------------------------------------------------------------------------


def test_hyperband_halves_within_brackets() -> None:
    calls: list[tuple[int, int, TrialParams]] = []
    run_to_end(make_study("hyperband", n_trials=17, rungs=(1 / 9, 1 / 3, 1.0)), calls)
    sizes = [(number, rung, len(params["low"])) for number, rung, params in calls]
    assert sizes == [(0, 0, 9), (0, 1, 3), (0, 2, 1), (1, 1, 5), (1, 2, 1), (2, 2, 3)]


def test_the_median_rule_stops_trials_below_the_median() -> None:
    for trials in run_to_end(make_study("median", n_trials=20)).values():
        assert all(t.completed for t in trials[:4]), "there is no median yet"
        for t in (t for t in trials if not t.completed):
            rung = max(t.rung_scores, key=int)
            earlier_trials = trials[: t.number]
            earlier_scores = sorted(
                e.rung_scores[rung] for e in earlier_trials if rung in e.rung_scores
            )
            assert t.score < earlier_scores[(len(earlier_scores) + 1) // 2]


def test_a_round_whose_trials_are_all_stopped_is_recorded() -> None:
    """Each trial is worse than all before it."""
    tested_study = make_study("median", arms=("low",), n_trials=6)
    counter = iter(range(1000))

    def run_trials(number: int, rung: int, trial_params: TrialParams) -> Results:
        scores = {trial: 1 / (1 + next(counter)) for trial in trial_params["low"]}
        return {"low": {t: TrialResult(score=score, steps=1) for t, score in scores.items()}}

    rounds = study.run_study(tested_study, run_trials)
    assert [r.trials["low"][0].completed for r in rounds] == [True] * 4 + [False] * 2


# ---- killed and continued ------------------------------------------------------------------------


class Killed(Exception):
    pass


class FailingOnce:
    """Runs trials, and raises `Killed` at one call."""

    def __init__(self, tested_study: Study, failing_call: int) -> None:
        self.tested_study, self.calls_left = tested_study, failing_call

    def __call__(self, number: int, rung: int, trial_params: TrialParams) -> Results:
        self.calls_left -= 1
        if self.calls_left == -1:
            raise Killed
        return synthetic_study.compute_results(self.tested_study, rung, trial_params)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_a_study_that_is_interrupted_at_any_call_continues_with_the_same_trials(
    tmp_path: Path, pruner: str
) -> None:
    tested_study = make_study(pruner, n_trials=9)
    undisturbed = run_to_end(tested_study)
    for call in range(9):
        folder = StudyFolder(Store(tmp_path).get_sweep(f"{pruner}-{call}"), "s")
        run_trials = FailingOnce(tested_study, call)
        with suppress(Killed):
            study.run_study(
                tested_study,
                run_trials,
                load_round=folder.read_round,
                save_round=folder.save_round,
            )
        rounds = study.run_study(
            tested_study, run_trials, load_round=folder.read_round, save_round=folder.save_round
        )
        trials = {arm: study.list_arm_trials(rounds, arm) for arm in tested_study.arms}
        assert trials == undisturbed


def test_two_processes_agree_on_the_round_that_was_saved_first(tmp_path: Path) -> None:
    folder = StudyFolder(Store(tmp_path).get_sweep("s"), "s")
    trial = Trial(number=0, params={"a": 1}, rung_scores={"0": 0.5}, completed=True, steps=3)
    saved_round = folder.save_round(TuningRound(number=0, trials={"full": (trial,)}))
    later_trial = Trial(number=0, params={"a": 2}, rung_scores={"0": 0.4}, completed=True, steps=3)
    assert (
        folder.save_round(TuningRound(number=0, trials={"full": (later_trial,)}))
        == saved_round
        == folder.read_round(0)
    )
    assert folder.read_round(1) is None


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("kill", range(KILLS))
def test_a_study_killed_at_a_random_moment_continues(tmp_path: Path, kill: int) -> None:
    """A process that runs a study slowly, then another, sometimes two at the same time."""
    tested_study = make_study("hyperband", n_trials=14)
    undisturbed = run_to_end(tested_study)
    generator = random.Random(f"{kill} {time.time_ns()}")
    command = [sys.executable, synthetic_study.__file__, str(tmp_path), "hyperband", "14", "0.05"]
    folder = StudyFolder(Store(tmp_path).get_sweep("s"), "space-1a2b3c4d")
    path = os.pathsep.join(sys.path)
    for _ in range(1 + kill % 2):
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
        deadline = time.monotonic() + 60
        while not folder.path.exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(generator.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
    processes = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) for _ in "12"]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    rounds = [r for n in range(20) if (r := folder.read_round(n)) is not None]
    trials = {arm: study.list_arm_trials(rounds, arm) for arm in tested_study.arms}
    assert trials == undisturbed


def test_scores_of_the_synthetic_arms_differ() -> None:
    values = {"train.learning_rate": 1e-3, "train.weight_decay": 0.5}
    assert compute_score("low", values, 1.0) != compute_score("high", values, 1.0)
    assert compute_score("low", values, 1.0) == compute_score("again", values, 1.0)
