"""One training step of the main job, side by side with another checkout, as ratios.

Both checkouts train the reference arm of `ablation=components` on the same batches, in turn in
processes of their own. A ratio is the baseline's CPU time of a step divided by this checkout's,
each the median of the steps and the fastest of the rounds. Without `--baseline` only this checkout
is measured.

    python -m tests.benchmarks training_step --baseline ../before
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.front_door import environment
from tests.benchmarks.table import Options, Table
from tests.helpers import ROOT

OVERRIDES = ("method=uniclip", "data=openmoji", "budget=quick")
ROUNDS, STEPS, QUICK_STEPS = 3, 30, 3
COMPARED_LOSSES = 10
"""First losses that are compared with the baseline's."""
PROGRAM = """
import json, sys, time
from sweeps.config import request
from uniclip import numerics
from uniclip.training import trainer
num_steps, overrides = int(sys.argv[1]), sys.argv[2:]
_, config = request.parse_configs(overrides)
numerics.apply(config.train.num_threads)
batches, state = trainer.setup_training(config)
losses, seconds = [], {"step": [], "batch": []}
for step in range(num_steps):
    start = time.process_time()
    batch = batches.build_batch(step)
    loaded = time.process_time()
    losses.append(trainer.training_step(state, batch).loss)
    seconds["batch"].append(loaded - start)
    seconds["step"].append(time.process_time() - loaded)
print(json.dumps({"losses": losses, "seconds": seconds}))
"""


def run(options: Options) -> Table:
    """Measure a step, in turn with one of the baseline if there is one."""
    checkouts = {"uniclip": ROOT}
    if options.baseline is not None:
        checkouts["baseline"] = options.baseline.resolve()
    rounds = [
        {name: measure(path, options.quick) for name, path in checkouts.items()}
        for _ in range(1 if options.quick else ROUNDS)
    ]
    rows = []
    for part in ("step", "batch"):
        row: dict[str, Any] = {"what": f"{part} of {' '.join(OVERRIDES)}"}
        for name in checkouts:
            row[f"{name}, CPU ms"] = 1e3 * min(median(r[name]["seconds"][part]) for r in rounds)
        if "baseline" in checkouts:
            row["baseline / uniclip"] = row["baseline, CPU ms"] / row["uniclip, CPU ms"]
        rows.append(row)
    if "baseline" not in checkouts:
        return Table("training_step", rows, {"baseline": "not measured: name one with --baseline"})
    pairs = list(zip(*(rounds[0][name]["losses"][:COMPARED_LOSSES] for name in checkouts)))
    difference = max(abs(a - b) / abs(b) for a, b in pairs)
    return Table("training_step", rows, {"losses": f"largest relative difference {difference:.1e}"})


def measure(checkout: Path, quick: bool) -> dict[str, Any]:
    """Return the losses and the CPU seconds of each step and batch of a checkout."""
    arguments = [str(QUICK_STEPS if quick else STEPS), *OVERRIDES]
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=checkout,
        env={**environment(checkout), "OMP_NUM_THREADS": "1"},
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    measurements: dict[str, Any] = json.loads(output.splitlines()[-1])
    return measurements


def median(values: list[float]) -> float:
    """Return the upper median."""
    return sorted(values)[len(values) // 2]
