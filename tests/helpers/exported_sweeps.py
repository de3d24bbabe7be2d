"""A synthetic sweep, what every target of an export must hold of it, and exports that are killed.

    python -m tests.helpers.exported_sweeps <target> <store> <destination>

exports as the command line does, and prints a line as soon as a cell is done.
"""

from __future__ import annotations

import importlib
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from analysis.exports.source import SweepSource
from analysis.exports.targets import get_target, load_exporter
from tests.helpers import ROOT, fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.io.atomic import append_jsonl
from uniclip.store import Store

TRUTH = Truth(seeds=(0,), diverged=(("clip", 0),))
CELLS = ("full", "clip", "none")
"""Arms whose cells are exported; the run of clip diverges, with values that are not finite."""

Values = dict[str, dict[tuple[str, int], str]]
"""Cell -> (metric, step) -> value as text, so that NaN equals NaN."""


def require_library(name: str) -> None:
    """Skip a module of tests without a library; `make exports` fails instead."""
    if os.environ.get("UNICLIP_EXPORTS") == "required":
        importlib.import_module(name)
    pytest.importorskip(name)


def make_source(root: Path) -> SweepSource:
    """Write the sweep into a new store, and return the source of some of its cells."""
    store, sweep_id = fake_sweep.make(root, TRUTH)
    source = open_source(store, sweep_id)
    attempt = store.get_run(fake_sweep.run_id("clip", 0)).get_attempt(1)
    record = {"step": 1000, "phase": "train", "loss": math.nan, "grad_norm": math.inf}
    append_jsonl(attempt.metrics_path, record)
    return source


def open_source(store: Store, sweep_id: str) -> SweepSource:
    """Return the source of some cells of a sweep."""
    plan = store.get_sweep(sweep_id).read_plan()
    assert plan is not None
    return SweepSource(store=store, plan=plan, cells=tuple(c for c in plan.cells if c.arm in CELLS))


def train_on(source: SweepSource, step: int) -> None:
    """Log one more step of the cell full/0."""
    attempt = source.store.get_run(fake_sweep.run_id("full", 0)).get_attempt(1)
    append_jsonl(attempt.metrics_path, {"step": step, "phase": "train", "loss": 0.5})


def rewrite_history(source: SweepSource) -> None:
    """Replace what the cell full/0 has logged, as a run does that is started afresh."""
    attempt = source.store.get_run(fake_sweep.run_id("full", 0)).get_attempt(1)
    attempt.metrics_path.unlink()
    append_jsonl(attempt.metrics_path, {"step": 5, "phase": "train", "loss": 9.0})


def expect_values(source: SweepSource, *, single_precision: bool = False) -> Values:
    """Return what the store has of every cell: its metrics, and its scores at the last step."""
    expected: Values = {}
    for cell in source.iter_cells():
        values = {(n, p.step): v for p in cell.curve for n, v in p.values.items()}
        values |= {(f"scores/{n}", cell.last_step): v for n, v in cell.score_values.items()}
        expected[cell.name] = {
            key: format_value(float(np.float32(value)) if single_precision else value)
            for key, value in values.items()
        }
    return expected


def format_value(value: float) -> str:
    """Return a value as text that is equal for equal values, of which 0 and -0 are two."""
    return repr(float(value) + 0.0)


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder, by its path."""
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def count_changes(target: str, source: SweepSource, destination: object) -> Counter[str]:
    """Export in this process, and return how often each kind of change was made."""
    return Counter(change for _, change in load_exporter(target)(source, destination))


def export_in_process(target: str, source: SweepSource, to: str, *, kill: bool = False) -> str:
    """Export in a new process and return what it prints; `kill` ends it after the first cell."""
    words = ("tests.helpers.exported_sweeps", target, str(source.store.root), to)
    child = subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert child.stdout is not None
    first_line = child.stdout.readline()
    if kill:
        os.killpg(child.pid, signal.SIGKILL)
    rest = child.stdout.read()
    status = child.wait()
    assert status == (-signal.SIGKILL if kill else 0)
    return first_line + rest


def main(target: str, store_root: str, destination: str) -> None:
    """Export a sweep, and print each change at once."""
    store = Store(store_root)
    (sweep,) = store.iter_sweeps()
    takes_url = get_target(target).takes_url
    place = destination if takes_url else Path(destination)
    for name, change in load_exporter(target)(open_source(store, sweep.id), place):
        print(name, change, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
