"""A study: planted optima are found with one budget; the trials are a function of the scores."""

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
from typing import Any

import pytest

from sweeps.tuning import study
from sweeps.tuning.search_space import Dimension
from sweeps.tuning.study import Study, TrialParams, TrialResult
from tests.helpers import synthetic_study
from tests.helpers.synthetic_study import OPTIMA, SPACE, score
from uniclip.errors import UserError
from uniclip.store import Store, StudyFolder, Trial, TuningRound

KILLS = 20 if os.environ.get("UNICLIP_SOAK") else 3
PRUNERS = ("none", "median", "hyperband")


def made(pruner: Any = "none", **changes: Any) -> Study:
    return synthetic_study.made(pruner, **changes)


def measured(
    it: Study, called: list[tuple[int, int, TrialParams]] | None = None
) -> Mapping[str, list[Trial]]:
    """The trials of each arm after a study of the synthetic scores."""

    def measure(number: int, rung: int, points: TrialParams) -> dict[str, dict[int, TrialResult]]:
        if called is not None:
            called.append((number, rung, points))
        return synthetic_study.measure(it, rung, points)

    rounds = study.run_study(it, measure)
    return {arm: study.list_arm_trials(rounds, arm) for arm in it.arms}


def best(trials: list[Trial]) -> Trial:
    return max((t for t in trials if t.completed), key=lambda t: t.score)


# ---- what is found -------------------------------------------------------------------------------


@pytest.mark.parametrize("pruner", PRUNERS)
def test_planted_optima_are_found_with_the_same_budget_an_arm(pruner: str) -> None:
    found = measured(made(pruner, trials=40))
    for arm, trials in found.items():
        assert len(trials) == 40
        rate, decay = (best(trials).params[k] for k in SPACE)
        assert abs(math.log10(rate / OPTIMA[arm][0])) < 0.25, (arm, rate)
        assert abs(decay - OPTIMA[arm][1]) < 0.15, (arm, decay)
    if pruner != "median":
        assert len({sum(t.steps for t in trials) for trials in found.values()}) == 1


def test_the_model_of_the_scores_beats_drawing_at_random() -> None:
    """Over several seeds, at the same budget: else asking and telling would do nothing."""
    late = []
    for seed in range(4):
        trials = measured(made(trials=24, seed=seed))["low"]
        late.append(sum(t.score for t in trials[12:]) - sum(t.score for t in trials[:12]))
    assert sum(late) > 0
    assert sum(gain > 0 for gain in late) >= 3


@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_pruning_spends_less(pruner: str) -> None:
    whole, pruned = measured(made(trials=34)), measured(made(pruner, trials=34))
    for arm in whole:
        assert sum(t.steps for t in pruned[arm]) < 0.9 * sum(t.steps for t in whole[arm])
        assert any(not t.completed for t in pruned[arm])


# ---- what the trials depend on -------------------------------------------------------------------


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("at_once", [1, 3])
def test_the_same_study_asks_for_the_same_trials(pruner: str, at_once: int) -> None:
    it = made(pruner, at_once=at_once)
    assert measured(it) == measured(it)
    assert measured(it) != measured(made(pruner, at_once=at_once, seed=1))


def test_arms_that_are_one_function_try_the_same_points() -> None:
    one, other = measured(made(arms=("low", "again"))).values()
    assert one == other


def test_more_trials_begin_with_the_same_ones() -> None:
    few, many = measured(made(trials=8)), measured(made(trials=14))
    for arm in few:
        assert many[arm][:8] == few[arm]


def test_the_default_values_are_tried_first() -> None:
    start = {"train.learning_rate": 1e-3, "train.weight_decay": 0.5}
    for trials in measured(made(trials=3, start=start)).values():
        assert trials[0].params == start
        assert trials[1].params != start


def test_points_lie_in_the_space_and_are_of_its_types() -> None:
    mixed = {
        "whole": Dimension(low=2, high=9),
        "share": Dimension(low=0.0, high=0.3),
        "listed": Dimension(choices=([0.0, 1.0], [1.0, 1.0], None)),
    }
    trials = measured(made(space=mixed, trials=20, at_once=4))["low"]
    for trial in trials:
        assert all(mixed[k].contains(v) for k, v in trial.params.items())
        assert type(trial.params["whole"]) is int
        assert type(trial.params["share"]) is float
    assert {str(t.params["listed"]) for t in trials} >= {"None", "[0.0, 1.0]"}


# ---- pruning -------------------------------------------------------------------------------------


def test_rungs_need_validations() -> None:
    assert study.compute_rungs("none", 1) == (1.0,)
    assert study.compute_rungs("median", 3) == (pytest.approx(1 / 3), 1.0)
    assert study.compute_rungs("hyperband", 27)[0] == pytest.approx(1 / 27)
    assert len(study.compute_rungs("hyperband", 26)) == 3
    with pytest.raises(UserError, match="needs 3 validations a run, there would be 2"):
        study.compute_rungs("median", 2)


def test_hyperband_halves_within_brackets() -> None:
    called: list[tuple[int, int, TrialParams]] = []
    measured(made("hyperband", trials=17, rungs=(1 / 9, 1 / 3, 1.0)), called)
    sizes = [(number, rung, len(points["low"])) for number, rung, points in called]
    assert sizes == [(0, 0, 9), (0, 1, 3), (0, 2, 1), (1, 1, 5), (1, 2, 1), (2, 2, 3)]


def test_the_median_stops_what_is_below_it() -> None:
    for trials in measured(made("median", trials=20)).values():
        assert all(t.completed for t in trials[:4]), "there is no median yet"
        stopped = [t for t in trials if not t.completed]
        for t in stopped:
            rung = max(t.rung_scores, key=int)
            before = sorted(
                b.rung_scores[rung] for b in trials[: t.number] if rung in b.rung_scores
            )
            assert t.score < before[(len(before) + 1) // 2]


def test_a_round_that_the_median_stops_whole_is_told_as_it_is() -> None:
    """Each trial is worse than all before it."""
    it = made("median", arms=("low",), trials=6)
    counter = iter(range(1000))

    def measure(number: int, rung: int, points: TrialParams) -> dict[str, dict[int, TrialResult]]:
        return {
            "low": {t: TrialResult(score=1 / (1 + next(counter)), steps=1) for t in points["low"]}
        }

    rounds = study.run_study(it, measure)
    assert [r.trials["low"][0].completed for r in rounds] == [True] * 4 + [False] * 2


# ---- killed and gone on --------------------------------------------------------------------------


class Killed(Exception):
    pass


class Mortal:
    """Measures, and dies once: at measurement `death`."""

    def __init__(self, it: Study, death: int) -> None:
        self.it, self.left = it, death

    def __call__(
        self, number: int, rung: int, points: TrialParams
    ) -> dict[str, dict[int, TrialResult]]:
        self.left -= 1
        if self.left == -1:
            raise Killed
        return synthetic_study.measure(self.it, rung, points)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_interrupted_at_any_measurement_the_study_goes_on_the_same(
    tmp_path: Path, pruner: str
) -> None:
    it = made(pruner, trials=9)
    undisturbed = measured(it)
    for death in range(9):
        folder = StudyFolder(Store(tmp_path).get_sweep(f"{pruner}-{death}"), "s")
        measure = Mortal(it, death)
        with suppress(Killed):
            study.run_study(it, measure, load_round=folder.read_round, save_round=folder.save_round)
        rounds = study.run_study(
            it, measure, load_round=folder.read_round, save_round=folder.save_round
        )
        assert {arm: study.list_arm_trials(rounds, arm) for arm in it.arms} == undisturbed


def test_two_who_tell_agree_on_the_first(tmp_path: Path) -> None:
    folder = StudyFolder(Store(tmp_path).get_sweep("s"), "s")
    trial = Trial(number=0, params={"a": 1}, rung_scores={"0": 0.5}, completed=True, steps=3)
    told = folder.save_round(TuningRound(number=0, trials={"full": (trial,)}))
    late = Trial(number=0, params={"a": 2}, rung_scores={"0": 0.4}, completed=True, steps=3)
    assert (
        folder.save_round(TuningRound(number=0, trials={"full": (late,)}))
        == told
        == folder.read_round(0)
    )
    assert folder.read_round(1) is None


@pytest.mark.soak
@pytest.mark.parametrize("kill", range(KILLS))
def test_sigkilled_at_a_random_moment(tmp_path: Path, kill: int) -> None:
    """A process that asks, measures slowly and tells; then another; sometimes two at once."""
    it = made("hyperband", trials=14)
    undisturbed = measured(it)
    chance = random.Random(f"{kill} {time.time_ns()}")
    command = [sys.executable, synthetic_study.__file__, str(tmp_path), "hyperband", "14", "0.05"]
    folder = StudyFolder(Store(tmp_path).get_sweep("s"), "s")
    path = os.pathsep.join(sys.path)
    for _ in range(1 + kill % 2):
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
        deadline = time.monotonic() + 60
        while not folder.path.exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
    both = [subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) for _ in "12"]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    rounds = [r for n in range(20) if (r := folder.read_round(n)) is not None]
    assert {arm: study.list_arm_trials(rounds, arm) for arm in it.arms} == undisturbed


def test_scores_of_the_synthetic_arms_differ() -> None:
    point = {"train.learning_rate": 1e-3, "train.weight_decay": 0.5}
    assert score("low", point, 1.0) != score("high", point, 1.0)
    assert score("low", point, 1.0) == score("again", point, 1.0)
