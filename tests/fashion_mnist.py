"""Fashion-MNIST end to end, by the command line: a model trained on emoji, and one that was not.

    python tests/fashion_mnist.py [--budget smoke|quick] [--data-root data]

Needs Debian's dataset-fashion-mnist, or the set under the data root; fails if there is neither.
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

ROOT = Path(__file__).resolve().parent.parent

from ablations.plan import plan
from sweeps.config import request
from tests.helpers.small_runs import claimed, opened
from uniclip import run as run_module
from uniclip.config import RunConfig
from uniclip.evaluate import datasets
from uniclip.evaluate.checks.label_order import is_above_chance

NAME, CHANCE, SAMPLES = "fashion_mnist", 0.1, 10_000


def main() -> None:
    """Train, judge both models side by side, print a table, and check what must hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="smoke")
    parser.add_argument("--data-root", default="data")
    given = parser.parse_args()
    lacking = datasets.get(NAME).describe_missing(given.data_root)
    if lacking is not None:
        sys.exit(f"{NAME} is missing: {lacking}")
    with tempfile.TemporaryDirectory() as folder:
        judging = {
            name: (start(run, given.data_root, out), out)
            for name, config in models(given.budget).items()
            for run in [train(Path(folder), config)]
            for out in [Path(folder) / f"{name}.json"]
        }
        for name, (process, out) in judging.items():
            if process.wait() != 0:
                sys.exit(f"the evaluation of the {name} model failed")
            check(name, json.loads(out.read_text())[NAME]["scores"])


def models(budget: str) -> dict[str, RunConfig]:
    """UniCLIP on emoji by that budget; and as it is before the first step, but for a rate of 0."""
    asked = request.parse_request(["ablation=components", "data=openmoji", f"budget={budget}"])
    trained = plan.build_plan(asked.plan_request).configs["full"]
    still = replace(trained.train, steps=1, validate_every=1, learning_rate=1e-30)
    return {"trained": trained, "random": replace(trained, train=still)}


def train(store: Path, config: RunConfig) -> Path:
    """The folder of a run that has ended."""
    run = opened(store, config)
    assert run_module.execute_run(run, config, claimed(run), evaluations={}) == "trained"
    return run.path


def start(run: Path, root: str, out: Path) -> subprocess.Popen[bytes]:
    """The command line, at work on it."""
    words = [f"run={run}", f"benchmark=[{NAME}]", f"data_root={root}", f"out={out}"]
    command = [sys.executable, "-m", "uniclip.evaluate", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def check(model: str, scores: list[dict[str, Any]]) -> None:
    """Print a model's scores; exit if they cannot be right."""
    by_name = {s["name"]: s for s in scores}
    for kind in ("zeroshot", "probe"):
        s = by_name[kind]
        print(f"{model:8} {kind:9} {s['value']:.4f}  (chance {s['chance']:.2f}, {s['samples']:,})")
        if s["samples"] != SAMPLES or s["chance"] != CHANCE or not 0 <= s["value"] <= 1:
            sys.exit(f"{kind} of the {model} model cannot be right: {s}")
    if not is_above_chance(by_name["probe"]["value"], CHANCE, SAMPLES):
        sys.exit(f"the probe of the {model} model is at chance: features do not reach it")


if __name__ == "__main__":
    main()
