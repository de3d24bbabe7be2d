"""What a store holds: every sweep and every run, with state, date, progress and size."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sweeps.claims.status import RunState, inspect_runs
from sweeps.config.stored_sweep import format_command
from sweeps.monitor.status import FINAL_STATUSES, build_rows, describe_counts
from sweeps.slurm import Slurm
from uniclip.errors import UserError
from uniclip.store import Plan, RunStatus, Store, SweepFolder

SIZE_UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, kw_only=True)
class SweepEntry:
    """A sweep of a store."""

    id: str
    state: str
    """How many cells have each status, or why it cannot be read."""
    progress: str
    """Cells that have a result, of all, such as "3/6"."""
    date: float
    """When its plan was written last, in seconds since 1970."""
    num_bytes: int
    """Bytes of its folders and of its runs; runs that sweeps share count in each."""
    command: str
    """The words that make it again."""


@dataclass(frozen=True, kw_only=True)
class RunEntry:
    """A run of a store."""

    id: str
    state: str
    progress: str
    """Training steps, such as "4/200"."""
    date: float
    """When its newest file of outcome, heartbeat or claim was written, in seconds since 1970."""
    num_bytes: int
    cells: tuple[str, ...]
    """`<sweep id> <arm>/<seed>` of each cell that it is."""


def list_sweeps(store: Store) -> list[SweepEntry]:
    """Return the sweeps of a store, the newest last."""
    run_sizes: dict[str, int] = {}
    entries = [_make_sweep_entry(store, folder, run_sizes) for folder in store.iter_sweeps()]
    return sorted(entries, key=lambda entry: (entry.date, entry.id))


def list_runs(store: Store, plans: Iterable[Plan], *, only_planned: bool) -> list[RunEntry]:
    """Return the runs of a store, the newest last.

    Args:
        store: The store.
        plans: Plans whose cells the runs are.
        only_planned: Whether runs that are no cell of these plans are left out.
    """
    evaluations: dict[str, dict[str, str]] = {}
    cells: dict[str, list[str]] = {}
    for plan in plans:
        for run_id, required in plan.required_evaluations().items():
            evaluations.setdefault(run_id, {}).update(required)
        for cell in plan.cells:
            cells.setdefault(cell.run_id, []).append(f"{plan.sweep_id} {cell.name}")
    ids = [run.id for run in store.iter_runs() if run.id in cells or not only_planned]
    states = inspect_runs(
        store,
        {run_id: evaluations.get(run_id, {}) for run_id in ids},
        Slurm().find_end_reason,
        trust_heartbeat=True,
    )
    entries = [_make_run_entry(store, i, states[i], tuple(cells.get(i, ()))) for i in ids]
    return sorted(entries, key=lambda entry: (entry.date, entry.id))


def format_date(seconds: float) -> str:
    """Return a time as date and minute of the local time zone."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M") if seconds else ""


def format_size(num_bytes: float) -> str:
    """Return a number of bytes with its unit, such as "3.2 MB"."""
    for unit in SIZE_UNITS[:-1]:
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} {SIZE_UNITS[-1]}"


def measure_folder(path: Path | str) -> int:
    """Return the bytes of all files below a folder; files that vanish meanwhile count 0."""
    num_bytes = 0
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    num_bytes += measure_folder(entry.path)
                else:
                    num_bytes += entry.stat(follow_symlinks=False).st_size
    except OSError:
        pass
    return num_bytes


def _make_sweep_entry(store: Store, folder: SweepFolder, run_sizes: dict[str, int]) -> SweepEntry:
    date = _get_mtime(folder.path / "plan.json") or _get_mtime(folder.path)
    own_bytes = measure_folder(folder.path) + measure_folder(store.report_path(folder.id))
    try:
        plan = folder.read_plan()
        rows = [] if plan is None else build_rows(store, plan)
    except UserError as error:
        return SweepEntry(
            id=folder.id, state=str(error), progress="", date=date, num_bytes=own_bytes, command=""
        )
    if plan is None:
        return SweepEntry(
            id=folder.id, state="no plan", progress="", date=date, num_bytes=own_bytes, command=""
        )
    run_ids = {row.run for row in rows}
    for run_id in run_ids - run_sizes.keys():
        run_sizes[run_id] = measure_folder(store.get_run(run_id).path)
    num_complete = sum(row.status == RunStatus.COMPLETE for row in rows)
    num_finished = sum(row.status in FINAL_STATUSES for row in rows)
    return SweepEntry(
        id=folder.id,
        state="complete" if num_complete == len(rows) else describe_counts(rows),
        progress=f"{num_finished}/{len(rows)}",
        date=date,
        num_bytes=own_bytes + sum(run_sizes[run_id] for run_id in run_ids),
        command=format_command(plan, "run"),
    )


def _make_run_entry(store: Store, run_id: str, state: RunState, cells: tuple[str, ...]) -> RunEntry:
    run = store.get_run(run_id)
    attempts = [] if state.status == RunStatus.UNREADABLE else run.list_attempts()
    paths = [run.path / "outcome.json"]
    if attempts:
        newest = run.get_attempt(attempts[-1])
        paths += [newest.heartbeat_path, newest.claim_path]
    return RunEntry(
        id=run_id,
        state=str(state.status),
        progress=_describe_steps(state),
        date=max((_get_mtime(path) for path in paths), default=0.0) or _get_mtime(run.path),
        num_bytes=measure_folder(run.path),
        cells=cells,
    )


def _describe_steps(state: RunState) -> str:
    heartbeat, outcome = state.heartbeat, state.outcome
    if outcome is not None:
        total = outcome.step if outcome.kind == "trained" else heartbeat and heartbeat.total_steps
        return f"{outcome.step}/{total}" if total else str(outcome.step)
    return f"{heartbeat.step}/{heartbeat.total_steps}" if heartbeat else ""


def _get_mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def to_sweep_record(entry: SweepEntry) -> Mapping[str, object]:
    """Return a sweep as a JSON record."""
    return {
        "sweep": entry.id,
        "state": entry.state,
        "progress": entry.progress,
        "date": entry.date,
        "bytes": entry.num_bytes,
        "command": entry.command,
    }


def to_run_record(entry: RunEntry) -> Mapping[str, object]:
    """Return a run as a JSON record."""
    return {
        "run": entry.id,
        "state": entry.state,
        "progress": entry.progress,
        "date": entry.date,
        "bytes": entry.num_bytes,
        "cells": list(entry.cells),
    }
