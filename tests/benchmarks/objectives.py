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

from tests.benchmarks.forms import FORMS, FORMS_OF_SIGLIP, PAIRWISE, Case, build_step
from tests.benchmarks.measure import Repetition, measure_step
from tests.benchmarks.table import Options, Table, count_cores
from uniclip.config.losses import MULTI_POSITIVE_LOSSES

SIZES = (1024, 2048, 4096, 8192, 32768)
OBJECTIVES = (*MULTI_POSITIVE_LOSSES, *PAIRWISE)
MAX_PAIRS = {"streamed": 32768, "dense": 8192}
MAX_PAIRS_OF_OTHERS = 4096
NUM_MATRICES = 5
"""Number of matrices of all pairs that must fit into memory for forms that are not streamed."""
QUICK = Repetition(rounds=1, seconds=0.0, burst_seconds=0.0, matrix_size=64)
QUICK_SIZES, QUICK_WIDTH, QUICK_CHUNK = (16, 24), 8, 10


def run(options: Options) -> Table:
    """Measure each case in a process of its own; the files are rewritten after each.

    With --quick, cases are tiny and run in this process, without the compiler: this shows only that
    they work.
    """
    for names, choices in ((options.objectives, OBJECTIVES), (options.forms, FORMS)):
        if unknown := [name for name in names if name not in choices]:
            raise SystemExit(f"nothing is called {unknown[0]!r}; there are {', '.join(choices)}")
    table = Table("objectives")
    for case in list_cases(options):
        row = measure_case(case, QUICK) if options.quick else measure_in_subprocess(case)
        table.rows.append(row)
        _add_ratios(table.rows)
        table.notes = describe_memory_growth(table.rows)
        table.write(options.out)
        print(_format_row(row), file=sys.stderr, flush=True)
    return table


def list_cases(options: Options) -> Iterator[Case]:
    """Yield the cases to measure; the dense form first, because the others are compared with it."""
    sizes = options.sizes or (QUICK_SIZES if options.quick else SIZES)
    for n in sizes:
        for name in options.objectives or OBJECTIVES:
            for tau in (0.07, 0.01) if name == "mp_nce" else (0.07,):
                for form in sorted(options.forms or FORMS, key=lambda form: form != "dense"):
                    case = Case(name, form, n, tau)
                    if options.quick:
                        case = replace(case, width=QUICK_WIDTH, chunk=QUICK_CHUNK)
                    if _is_measurable(case, options.quick):
                        yield case


def _is_measurable(case: Case, quick: bool) -> bool:
    """Return whether the form exists for the loss and its matrices fit into memory."""
    if case.form == "open_clip" and case.objective not in ("clip", "siglip"):
        return False
    if case.objective == "siglip" and case.form not in FORMS_OF_SIGLIP:
        return False
    if quick and case.form == "compile":
        return False
    if case.pairs > MAX_PAIRS.get(case.form, MAX_PAIRS_OF_OTHERS):
        return False
    matrix_bytes = 4 * case.embeddings**2
    return (
        case.form == "streamed" or NUM_MATRICES * matrix_bytes < psutil.virtual_memory().available
    )


def measure_case(case: Case, repetition: Repetition) -> dict[str, Any]:
    """Return the row of a case, measured in this process."""
    step, results = build_step(case), []
    if case.form == "compile":
        step()  # compiles
    measurement = measure_step(lambda: results.append(step()), repetition)
    return {
        "objective": case.objective,
        "tau": case.tau,
        "N": case.pairs,
        "form": case.form,
        "s": measurement.seconds,
        "extra MiB": measurement.mib,
        "dense / this, time": None,
        "dense / this, memory": None,
        "share of floor": case.floor / measurement.equivalent_flops,
        "GFLOP/s": measurement.flops_per_second / 1e9,
        "rounds": measurement.rounds,
        "loss": results[-1][0],
        "gradient": results[-1][1],
    }


def measure_in_subprocess(case: Case) -> dict[str, Any]:
    """Return the row of a case, measured in a new process with one thread per core."""
    environment = os.environ | {"OMP_NUM_THREADS": str(count_cores())}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-m", "tests.benchmarks.objectives", json.dumps(asdict(case))]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode == 0:
        row: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
        return row
    is_signal = result.returncode < 0
    reasons = [f"signal {-result.returncode}"] if is_signal else result.stderr.splitlines()
    key = {"objective": case.objective, "tau": case.tau, "N": case.pairs, "form": case.form}
    return key | {"failed": (reasons or ["no error message"])[-1][:80]}


def _add_ratios(rows: list[dict[str, Any]]) -> None:
    """Add the last row's ratios to the dense form of the same loss."""
    last_row = rows[-1]
    group = [last_row[key] for key in ("objective", "tau", "N")]
    for row in rows:
        is_same_group = [row[key] for key in ("objective", "tau", "N")] == group
        if is_same_group and row["form"] == "dense" and "failed" not in {*row, *last_row}:
            last_row["dense / this, time"] = row["s"] / last_row["s"]
            if last_row["extra MiB"]:
                last_row["dense / this, memory"] = row["extra MiB"] / last_row["extra MiB"]


def describe_memory_growth(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the growth of each streamed loss's memory as a power of N, from least to most N."""
    growth: dict[str, Any] = {}
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
            growth[f"streamed {name}, tau {tau}, memory from N = {few} to {many}"] = (
                f"N^{power:.2f}, {slope:.1f} KiB a pair"
            )
    return growth


def _format_row(row: dict[str, Any]) -> str:
    return "  ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())


def main() -> None:
    """Measure the case of the command line (JSON) and print its row as JSON."""
    torch.set_num_threads(count_cores())
    print(json.dumps(measure_case(Case(**json.loads(sys.argv[1])), Repetition())))


if __name__ == "__main__":
    main()
