"""A program without torch that trains nothing: metrics, a checkpoint, scores, as told by its flags.

It counts its steps in `state.json`, from which it resumes; what it logs is a function of seed, step
and flags.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--gain", type=float, default=0.0)
    parser.add_argument("--ignored", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--fail-at", type=int, default=0)
    parser.add_argument("--noise", action="store_true")
    parser.add_argument("--forgets", action="store_true")
    parser.add_argument("--helper", action="store_true")
    arguments = parser.parse_args()
    state_path = arguments.out / "state.json"
    start = 0
    if state_path.exists() and not arguments.forgets:
        start = json.loads(state_path.read_text())["step"]
    if arguments.helper:  # a process that outlives its parent unless somebody kills it
        helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (arguments.out / "helper.pid").write_text(str(helper.pid))
    with open(arguments.out / "starts", "a") as starts:
        starts.write(f"{os.getpid()}\n")
    for step in range(start + 1, arguments.steps + 1):
        if step == arguments.fail_at:
            print("something is wrong")
            return 3
        time.sleep(arguments.seconds)
        noise = time.monotonic_ns() % 1000 if arguments.noise else 0
        record = {"step": step, "loss": 1 / step + arguments.seed + arguments.gain + noise}
        record["batch"] = f"{arguments.seed}-{step}"
        with open(arguments.out / "metrics.jsonl", "a") as log:
            log.write(json.dumps(record) + "\n")
        print(f"epoch 1 step {step} loss {record['loss']:.4f}", flush=True)
        state_path.write_text(json.dumps({"step": step}))
    score = 0.5 + arguments.gain / 10 + arguments.seed / 100
    (arguments.out / "scores.json").write_text(json.dumps({"test": {"accuracy": score}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
