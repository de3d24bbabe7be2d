"""A study whose scores are a formula: optima are planted, and a process can run it slowly."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.tuning import definition
from sweeps.tuning.definition import Study, TrialParams, TrialResult
from sweeps.tuning.recorder import StudyRecorder, run_recorded_study
from sweeps.tuning.search_space import Dimension
from uniclip.store import Store, StudyFolder, TuningRound

SPACE = {
    "train.learning_rate": Dimension(low=1e-4, high=1e-1, log=True),
    "train.weight_decay": Dimension(low=0.0, high=1.0),
}
OPTIMA = {"low": (4e-4, 0.2), "high": (2e-2, 0.7), "again": (4e-4, 0.2)}
"""Arm -> its best learning rate and weight decay."""
STEPS = 90


def make_study(pruner: Any = "none", **changes: Any) -> Study:
    """Return a study of two arms with different optima."""
    values: dict[str, Any] = {"arms": ("low", "high"), "space": SPACE, "n_trials": 12, **changes}
    return Study(pruner=pruner, **{"rungs": definition.compute_rungs(pruner, 9), **values})


def compute_score(arm: str, values: Mapping[str, Any], fraction: float) -> float:
    """Return a score that is 1 at the arm's optimum after all steps, and lower elsewhere."""
    learning_rate, decay = OPTIMA[arm]
    distance = (math.log10(values.get("train.learning_rate", learning_rate) / learning_rate)) ** 2
    distance += (values.get("train.weight_decay", decay) - decay) ** 2
    return math.exp(-distance) * (1 - math.exp(-5 * fraction)) / (1 - math.exp(-5))


def compute_results(
    tested_study: Study, rung: int, trial_params: TrialParams
) -> dict[str, dict[int, TrialResult]]:
    """Return the result of each trial at a rung."""
    fraction = tested_study.rungs[rung]
    steps = round(STEPS * fraction)
    return {
        arm: {
            trial: TrialResult(score=compute_score(arm, values, fraction), steps=steps)
            for trial, values in trials.items()
        }
        for arm, trials in trial_params.items()
    }


def run_recorded(
    tested_study: Study, store: Store, url: str = "", seconds: float = 0.0, sweep: str = "s"
) -> list[TuningRound]:
    """Run a study in a store and a storage of Optuna; each call for results takes `seconds`."""
    folder = StudyFolder(store.get_sweep(sweep), "space-1a2b3c4d")
    recorder = StudyRecorder(tested_study, store, folder, (1000,), url)

    def run_trials(
        number: int, rung: int, trial_params: TrialParams
    ) -> dict[str, dict[int, TrialResult]]:
        recorder.start_trials(number, trial_params)
        time.sleep(seconds)
        results = compute_results(tested_study, rung, trial_params)
        recorder.report(rung, results)
        return results

    return run_recorded_study(tested_study, run_trials, folder, recorder)


def main(
    root: str, pruner: str, n_trials: str, seconds: str, sampler: str = "tpe", url: str = ""
) -> None:
    """Run a study over the store at `root`."""
    tested_study = make_study(pruner, n_trials=int(n_trials), sampler=sampler)
    run_recorded(tested_study, Store(Path(root)), url, float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
