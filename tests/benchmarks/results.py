"""Gathering the runs of a store: with no index of results, with an empty one and with a whole one.

Seconds are of this process's CPU: the files lie in the system's cache, and a shared machine's wall
time says little. Each step is measured in turn with the others, the fastest of the rounds counts.
What a gathering is spent on is measured in parts with the whole index. A report is written for the
first time by a process of its own: its seconds are those of all its processes, imports included.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from analysis.collect.frame import collect_sweep_data
from analysis.report.build import compute_input_digest
from tests.benchmarks import front_door
from tests.benchmarks.table import Options, Table
from tests.helpers import ROOT, fake_sweep
from tests.helpers.fake_sweep import EVALUATION
from uniclip.frames.history import build_history_frame
from uniclip.frames.store_frames import StoreFrames
from uniclip.io import file_digests
from uniclip.store import Plan, Store
from uniclip.store.history import Columns
from uniclip.store.results_index import locate_index, use_index

NUM_RUNS, QUICK_NUM_RUNS = 10_000, 24
NUM_REPORTED = 1_000
"""Runs of the sweep that is reported."""
ROUNDS = 3
USERS = (
    "analysis.collect.frame",
    "analysis.report.build",
    "uniclip.frames.store_frames",
)
"""Modules that read runs through the index."""


def run(options: Options) -> Table:
    """Measure what reads the runs of one sweep; `--sizes` are numbers of runs."""
    sizes = options.sizes or (QUICK_NUM_RUNS if options.quick else NUM_RUNS,)
    rows = [measure_report(min(NUM_REPORTED, *sizes))]
    num_arms = len(fake_sweep.arms())
    for size in sizes:
        seeds = tuple(range(-(-size // num_arms)))
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.dict(os.environ, UNICLIP_CACHE=f"{folder}/cache"),
            mock.patch.object(file_digests, "MIN_AGE_SECONDS", -1.0),
        ):
            store, sweep_id = fake_sweep.make(Path(folder, "store"), fake_sweep.Truth(seeds=seeds))
            plan = store.get_sweep(sweep_id).read_plan()
            assert plan is not None
            rounds = 1 if options.quick else ROUNDS
            rows += [
                measure(what, step, store, num_arms * len(seeds), rounds)
                for what, step in list_steps(store, plan).items()
            ]
            rows += measure_parts(store, plan, num_arms * len(seeds))
    return Table("results", rows, {})


def measure_report(num_runs: int) -> dict[str, Any]:
    """Return the row of the report of a sweep of so many runs."""
    seeds = tuple(range(-(-num_runs // len(fake_sweep.arms()))))
    with tempfile.TemporaryDirectory() as folder:
        store, sweep_id = fake_sweep.make(Path(folder, "store"), fake_sweep.Truth(seeds=seeds))
        command = [sys.executable, "-c", front_door.REPORT, str(store.root), sweep_id]
        environment = {**front_door.environment(ROOT), "UNICLIP_CACHE": f"{folder}/cache"}
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    num_cells = len(seeds) * len(fake_sweep.arms())
    return {"what": "report", "runs": num_cells, "CPU seconds": cpu, "wall seconds": wall}


def list_steps(store: Store, plan: Plan) -> dict[str, Callable[[], object]]:
    """Return what is measured -> what does it."""
    frames = StoreFrames(store)
    return {
        "gather a sweep": partial(collect_sweep_data, store, plan.sweep_id),
        "digest of a report's inputs": partial(compute_input_digest, store, plan),
        "open_store().runs": partial(frames.runs, plan.sweep_id),
        "open_store().scores": partial(frames.scores, plan.sweep_id),
        "open_store().metrics": partial(frames.metrics, plan.sweep_id),
    }


def measure(
    what: str, step: Callable[[], object], store: Store, num_runs: int, rounds: int
) -> dict[str, Any]:
    """Return one row: CPU seconds without an index, with an empty one and with a whole one."""
    seconds: dict[str, list[float]] = {"no index": [], "empty index": [], "whole index": []}
    for _ in range(rounds):
        with no_index():
            seconds["no index"].append(time_step(step))
        locate_index(store.root).unlink(missing_ok=True)
        seconds["empty index"].append(time_step(step))
        seconds["whole index"].append(time_step(step))
    fastest = {f"{name}, CPU seconds": min(values) for name, values in seconds.items()}
    ratio = min(seconds["no index"]) / min(seconds["whole index"])
    return {"what": what, "runs": num_runs, **fastest, "no index / whole index": ratio}


def measure_parts(store: Store, plan: Plan, num_runs: int) -> list[dict[str, Any]]:
    """Return a row for each part of a gathering with a whole index."""
    run_ids = list(plan.required_evaluations())
    collect_sweep_data(store, plan.sweep_id)
    histories: dict[str, Columns] = {}

    def read_histories() -> None:
        histories.update({i: indexed.get_run(i).read_history_columns() for i in run_ids})

    with use_index(store) as indexed:
        parts: dict[str, Callable[[], object]] = {
            "outcomes": lambda: [indexed.get_run(i).read_outcome() for i in run_ids],
            "scores": lambda: [
                indexed.get_run(i).read_scores("openmoji", EVALUATION) for i in run_ids
            ],
            "claims": lambda: [indexed.get_run(i).get_attempt(1).read_claim() for i in run_ids],
            "metrics": read_histories,
            "frame of the metrics": lambda: build_history_frame(plan.cells, histories),
        }
        return [
            {
                "what": f"of gathering: {what}",
                "runs": num_runs,
                "whole index, CPU seconds": time_step(part),
            }
            for what, part in parts.items()
        ]


@contextmanager
def no_index() -> Iterator[None]:
    """Read every file, as before there was an index."""
    with ExitStack() as patches:
        for module in USERS:
            patches.enter_context(mock.patch(f"{module}.use_index", nullcontext))
        yield


def time_step(step: Callable[[], object]) -> float:
    """Return the CPU seconds of this process for one step."""
    start = time.process_time()
    step()
    return time.process_time() - start
