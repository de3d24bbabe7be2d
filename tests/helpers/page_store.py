"""A small store for tests of pages: some arms and seeds with histories, scores, use and logs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from unittest import mock

from tests.helpers import fake_sweep
from tests.helpers.fake_sweep import Truth
from uniclip.io.atomic import append_jsonl
from uniclip.store import Cell, Plan, Store

ARMS = ("full", "no-awareness", "clip")
TRACEBACK = "Traceback (most recent call last):\n  File 'x.py', line 3\nValueError: no images"
HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
"""Text that runs code where it is taken for HTML."""


def write_store(root: Path, *, label: str = "CLIP", log: str = "") -> tuple[Store, Plan]:
    """Write a sweep of three arms and two seeds: four cells are finished, one failed, one waits.

    Args:
        root: folder of the store.
        label: label of one arm.
        log: begin of the log of the failed cell (clip/1), which ends with `TRACEBACK`.
    """
    truth = Truth(seeds=(0, 1))
    sweep_plan, store = make_plan(truth, label), Store(root)
    store.get_sweep(sweep_plan.sweep_id).write_plan(sweep_plan)
    with mock.patch("os.fsync"):
        for cell in sweep_plan.cells[:4]:
            fake_sweep.write_run(store, sweep_plan, cell, truth)
            write_usage(store, cell)
        fail(store, get_cell(sweep_plan, "clip/1"), log)
    return store, sweep_plan


def make_plan(truth: Truth, label: str = "CLIP") -> Plan:
    """Return the plan: cells full/0, no-awareness/0, clip/0, full/1, no-awareness/1, clip/1."""
    whole = fake_sweep.plan(truth)
    arms = [whole.get_arm(name) for name in ARMS]
    arms[1] = replace(arms[1], config_diff={"method.awareness": False})
    arms[2] = replace(arms[2], label=label, config_diff={"method.name": "clip"})
    return replace(
        whole,
        arms=tuple(arms),
        cells=tuple(c for c in whole.cells if c.arm in ARMS),
        contrasts=(),
        components=(),
        evaluation_hashes={name: whole.evaluation_hashes[name] for name in ARMS},
        base_config={
            "views": {"num_weak": 1, "num_strong": 2},
            "train": {"batch_size": 128, "steps": 200, "num_threads": 1},
            "runtime": {"device": "cpu"},
        },
    )


def get_cell(plan: Plan, name: str) -> Cell:
    """Return the cell of that name."""
    return next(cell for cell in plan.cells if cell.name == name)


def fail(store: Store, cell: Cell, log: str = "") -> None:
    """Let a cell fail, with a traceback in its log."""
    fake_sweep.fail(store, cell.run_id, seconds=100.0)
    attempt = store.get_run(cell.run_id).get_attempt(1)
    attempt.log_path.write_text(f"{log}\nstep 10\n{TRACEBACK}\n")


def write_usage(store: Store, cell: Cell, num_samples: int = 20) -> None:
    """Write samples of the use of the machine."""
    attempt = store.get_run(cell.run_id).get_attempt(1)
    for i in range(num_samples):
        percent = 90 + 10 * math.sin(i)
        record = {"time": 1e9 + 30 * i, "cpu_percent": percent, "memory_bytes": 2e9 + i}
        append_jsonl(attempt.usage_path, record)
