"""Fashion-MNIST end to end, through the command line: a trained and an untrained model.

    python -m tests.fashion_mnist [--budget smoke|quick] [--data-root data]

The trained model is UniCLIP on emoji. Needs Debian's package dataset-fashion-mnist, or the data set
below the data root; fails if there is neither.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablations.plan.plan import build_plan
from sweeps.config import request
from tests.helpers import ROOT
from tests.helpers.small_runs import claimed, opened
from uniclip import run as run_module
from uniclip.config import RunConfig
from uniclip.evaluate import datasets
from uniclip.evaluate.checks.label_order import is_above_chance

DATASET, CHANCE, NUM_SAMPLES = "fashion_mnist", 0.1, 10_000


def main() -> None:
    """Train and evaluate both models, print their scores, and check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="smoke")
    parser.add_argument("--data-root", default="data")
    arguments = parser.parse_args()
    missing = datasets.get(DATASET).describe_missing(arguments.data_root)
    if missing is not None:
        sys.exit(f"{DATASET} is missing: {missing}")
    with tempfile.TemporaryDirectory() as scratch:
        evaluations = {}
        for name, config in build_configs(arguments.budget).items():
            run_folder, out = train(Path(scratch), config), Path(scratch) / f"{name}.json"
            evaluations[name] = start_evaluation(run_folder, arguments.data_root, out), out
        for name, (process, out) in evaluations.items():
            if process.wait() != 0:
                sys.exit(f"the evaluation of the {name} model failed")
            check_scores(name, json.loads(out.read_text())[DATASET]["scores"])


def build_configs(budget: str) -> dict[str, RunConfig]:
    """Return UniCLIP on emoji with a budget, and the same with one step of learning rate 1e-30."""
    overrides = ["ablation=components", "data=openmoji", f"budget={budget}"]
    trained = build_plan(request.parse_request(overrides).plan_request).configs["full"]
    one_step = replace(trained.train, steps=1, validate_every=1, learning_rate=1e-30)
    return {"trained": trained, "random": replace(trained, train=one_step)}


def train(store: Path, config: RunConfig) -> Path:
    """Train to the end; return the folder of the run."""
    run = opened(store, config)
    assert run_module.execute_run(run, config, claimed(run), evaluations={}) == "trained"
    return run.path


def start_evaluation(run: Path, data_root: str, out: Path) -> subprocess.Popen[bytes]:
    """Start the evaluation of a run, by the command line."""
    overrides = [f"run={run}", f"benchmark=[{DATASET}]", f"data_root={data_root}", f"output={out}"]
    command = [sys.executable, "-m", "uniclip.evaluate", *overrides]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def check_scores(model: str, scores: list[dict[str, Any]]) -> None:
    """Print the scores of a model; exit if they are not plausible."""
    score_by_name = {score["name"]: score for score in scores}
    for task in ("zeroshot", "probe"):
        score = score_by_name[task]
        value, chance, num_samples = score["value"], score["chance"], score["num_samples"]
        print(f"{model:8} {task:9} {value:.4f}  (chance {chance:.2f}, {num_samples:,} samples)")
        if num_samples != NUM_SAMPLES or chance != CHANCE or not 0 <= value <= 1:
            sys.exit(f"{task} of the {model} model is not plausible: {score}")
    if not is_above_chance(score_by_name["probe"]["value"], CHANCE, NUM_SAMPLES):
        sys.exit(f"the probe of the {model} model is at chance: it does not depend on the features")


if __name__ == "__main__":
    main()
