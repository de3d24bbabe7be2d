"""A study whose scores are a formula: optima are planted, and a process can conduct it slowly."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.tuning import study
from sweeps.tuning.search_space import Dimension
from sweeps.tuning.study import Study, TrialParams, TrialResult
from uniclip.store import Store, StudyFolder

SPACE = {
    "train.learning_rate": Dimension(low=1e-4, high=1e-1, log=True),
    "train.weight_decay": Dimension(low=0.0, high=1.0),
}
OPTIMA = {"low": (4e-4, 0.2), "high": (2e-2, 0.7), "again": (4e-4, 0.2)}
"""Arm -> its best rate and decay."""
STEPS = 90


def made(pruner: Any = "none", **changes: Any) -> Study:
    """A study of two arms with different optima."""
    values: dict[str, Any] = {"arms": ("low", "high"), "space": SPACE, "trials": 12, **changes}
    return Study(pruner=pruner, **{"rungs": study.compute_rungs(pruner, 9), **values})


def score(arm: str, point: Mapping[str, Any], share: float) -> float:
    """Highest, at 1, at the arm's optimum after all steps; less is learnt in fewer."""
    rate, decay = OPTIMA[arm]
    off = (math.log10(point.get("train.learning_rate", rate) / rate)) ** 2
    off += (point.get("train.weight_decay", decay) - decay) ** 2
    return math.exp(-off) * (1 - math.exp(-5 * share)) / (1 - math.exp(-5))


def measure(it: Study, rung: int, points: TrialParams) -> dict[str, dict[int, TrialResult]]:
    """What each point scores at a rung."""
    share = it.rungs[rung]
    return {
        arm: {
            trial: TrialResult(score=score(arm, values, share), steps=round(STEPS * share))
            for trial, values in tried.items()
        }
        for arm, tried in points.items()
    }


def main(root: str, pruner: str, trials: str, seconds: str) -> None:
    """Conduct a study over the store at `root`, `seconds` a measurement."""
    it = made(pruner, trials=int(trials))
    folder = StudyFolder(Store(Path(root)).get_sweep("s"), "s")

    def slowly(number: int, rung: int, points: TrialParams) -> dict[str, dict[int, TrialResult]]:
        time.sleep(float(seconds))
        return measure(it, rung, points)

    study.run_study(it, slowly, load_round=folder.read_round, save_round=folder.save_round)


if __name__ == "__main__":
    main(*sys.argv[1:])
