"""Every objective, forward and backward, in every form: time, extra memory, share of the floor."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import psutil
import torch

from tests.benchmarks.forms import FAMILY, FORMS, PAIRWISE, Case, step
from tests.benchmarks.measure import Effort, measured
from tests.benchmarks.table import Options, Table, cores

SIZES = (1024, 2048, 4096, 8192, 32768)
LARGEST = {"streamed": 32768, "dense": 8192}
OTHERS_LARGEST = 4096
MATRICES = 5
"""So many matrices of all pairs must fit into memory for the dense form to be tried."""
HASTE = Effort(rounds=1, seconds=0.0, burst=0.0, side=64)
QUICK_SIZES, QUICK_WIDTH, QUICK_CHUNK = (16, 24), 8, 10


def run(options: Options) -> Table:
    """Measures case after case, each in a process of its own; the files are there from the first.

    Quick: tiny and all in this process, without the compiler, so only that it works is shown.
    """
    for asked, known in (
        (options.objectives, (*FAMILY, *PAIRWISE)),
        (options.forms, FORMS),
    ):
        if unknown := [name for name in asked if name not in known]:
            raise SystemExit(f"nothing is called {unknown[0]!r}; there are {', '.join(known)}")
    table = Table("objectives")
    for case in cases(options):
        found = here(case, HASTE) if options.quick else apart(case)
        table.rows.append(found)
        _relate(table.rows)
        table.notes = notes(table.rows)
        table.write(options.out)
        print(_line(found), file=sys.stderr, flush=True)
    return table


def cases(options: Options) -> Iterator[Case]:
    """Dense comes first in its group: the others are related to it."""
    sizes = options.sizes or (QUICK_SIZES if options.quick else SIZES)
    for n in sizes:
        for name in options.objectives or (*FAMILY, *PAIRWISE):
            for tau in (0.07, 0.01) if name == "mp_nce" else (0.07,):
                for form in sorted(options.forms or FORMS, key=lambda form: form != "dense"):
                    case = Case(name, form, n, tau)
                    if options.quick:
                        case = replace(case, width=QUICK_WIDTH, chunk=QUICK_CHUNK)
                    if _wanted(case, options.quick):
                        yield case


def _wanted(case: Case, quick: bool) -> bool:
    if case.form == "open_clip" and case.objective != "clip" or quick and case.form == "compile":
        return False
    if case.pairs > LARGEST.get(case.form, OTHERS_LARGEST):
        return False
    matrix = 4 * case.embeddings**2
    return case.form == "streamed" or MATRICES * matrix < psutil.virtual_memory().available


def here(case: Case, effort: Effort) -> dict[str, Any]:
    """The case, measured in this process."""
    act, answers = step(case), []
    if case.form == "compile":
        act()  # the compiler's time is not the loss's
    found = measured(lambda: answers.append(act()), effort)
    return {
        "objective": case.objective,
        "tau": case.tau,
        "N": case.pairs,
        "form": case.form,
        "s": found.seconds,
        "extra MiB": found.mib,
        "dense / this, time": None,
        "dense / this, memory": None,
        "share of floor": case.floor / found.products,
        "GFLOP/s": found.speed / 1e9,
        "rounds": found.rounds,
        "loss": answers[-1][0],
        "gradient": answers[-1][1],
    }


def apart(case: Case) -> dict[str, Any]:
    """The case, measured in a process of its own, with as many threads as there are cores."""
    environment = os.environ | {"OMP_NUM_THREADS": str(cores())}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-m", "tests.benchmarks.objectives", json.dumps(asdict(case))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    why = done.stderr.splitlines() if done.returncode > 0 else [f"signal {-done.returncode}"]
    named = {"objective": case.objective, "tau": case.tau, "N": case.pairs, "form": case.form}
    return named | {"failed": (why or ["no reason given"])[-1][:80]}


def _relate(rows: list[dict[str, Any]]) -> None:
    """Fill in the last row's ratios to the dense form of the same loss."""
    mine = rows[-1]
    group = [mine[key] for key in ("objective", "tau", "N")]
    for dense in rows:
        same = [dense[key] for key in ("objective", "tau", "N")] == group
        if same and dense["form"] == "dense" and "failed" not in {*dense, *mine}:
            mine["dense / this, time"] = dense["s"] / mine["s"]
            if mine["extra MiB"]:
                mine["dense / this, memory"] = dense["extra MiB"] / mine["extra MiB"]


def notes(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How the streamed forms' memory grows: the power of N between the smallest and the largest."""
    found: dict[str, Any] = {}
    for name, tau in dict.fromkeys((row["objective"], row["tau"]) for row in rows):
        memory = {
            row["N"]: row["extra MiB"]
            for row in rows
            if (row["objective"], row["tau"], row["form"]) == (name, tau, "streamed")
            and row.get("extra MiB")
        }
        few, many = min(memory, default=0), max(memory, default=0)
        if few < many:
            power = math.log(memory[many] / memory[few]) / math.log(many / few)
            slope = 1024 * (memory[many] - memory[few]) / (many - few)
            found[f"streamed {name}, tau {tau}, memory from N = {few} to {many}"] = (
                f"N^{power:.2f}, {slope:.1f} KiB a pair"
            )
    return found


def _line(row: dict[str, Any]) -> str:
    return "  ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())


def main() -> None:
    """One case, given as JSON, in this process; prints what was found as JSON."""
    torch.set_num_threads(cores())
    print(json.dumps(here(Case(**json.loads(sys.argv[1])), Effort())))


if __name__ == "__main__":
    main()
