"""`sweep.py logs`: print the log of a cell."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from typing import Any

from ablations.plan.plan import find_cell
from sweeps.config.selection import (
    SelectedPlan,
    has_ablation,
    open_store,
    select_plan,
)
from sweeps.monitor.terminal import print_json
from uniclip.errors import UserError
from uniclip.store import AttemptFolder, RunFolder, Store

MIN_RUN_PREFIX = 4
"""Digits with which a run id may be abbreviated."""
METRICS_SHOWN = ("loss", "score", "grad_norm", "lr")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, the cell and the flag --json."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="sweep or cell",
        help="the start of a run id alone; or <arm>/<seed>, with the id of its sweep (or the start "
        "of it, see list sweeps) or ablation=...",
    )
    parser.add_argument("--json", action="store_true", help="print log and last metrics as JSON")


def run(arguments: Namespace) -> int:
    """Print the newest log of the cell that is not empty, its path, and the last metrics."""
    name, run_folder, hint = _find_run(arguments.names, arguments.overrides)
    attempts = [run_folder.get_attempt(number) for number in run_folder.list_attempts()]
    if not attempts:
        raise UserError(f"{name} has not been run: there is no log yet{hint}")
    if arguments.json:
        print_json(_make_record(name, run_folder, attempts))
        return 0
    for line in _describe_logs(attempts):
        print(line)
    for line in _describe_last_metrics(run_folder):
        print(line)
    return 0


def _find_run(names: Sequence[str], overrides: list[str]) -> tuple[str, RunFolder, str]:
    """Return the name of the cell, its run, and what to say if it has no log.

    The start of a run id is looked up in the whole store.
    """
    if len(names) == 1 and not has_ablation(overrides):
        run_folder = find_run(open_store(overrides), names[0])
        if run_folder is not None:
            return names[0], run_folder, ""
    selection = _select_cell(names, overrides)
    plan = selection.plan
    (name,) = selection.cell_names
    run_folder = selection.store.get_run(find_cell(plan, name).run_id)
    worker_logs_path = selection.store.get_sweep(plan.sweep_id).worker_logs_path
    hint = "".join(f"; {note}" for note in selection.notes)
    if worker_logs_path.exists():
        hint = f"; the logs of the workers are in {worker_logs_path}"
    return name, run_folder, hint


def _select_cell(names: Sequence[str], overrides: list[str]) -> SelectedPlan:
    if not names and not has_ablation(overrides):
        raise UserError("logs takes one cell: the start of a run id, or <sweep id> <arm>/<seed>")
    selection = select_plan("logs", names, overrides)
    if len(selection.cell_names) != 1:
        example = selection.plan.cells[0].name
        raise UserError(
            f"logs takes one cell of {selection.plan.sweep_id}: <arm>/<seed> such as {example}, or "
            "the start of a run id"
        )
    return selection


def find_run(store: Store, prefix: str) -> RunFolder | None:
    """Return the only run of the store whose id starts with `prefix`; None if there is none.

    Raises:
        UserError: several runs do.
    """
    if len(prefix) < MIN_RUN_PREFIX or not set(prefix) <= set("0123456789abcdef"):
        return None
    run_folders = [run for run in store.iter_runs() if run.id.startswith(prefix)]
    if len(run_folders) > 1:
        ids = ", ".join(run.id for run in run_folders[:5])
        raise UserError(f"{prefix!r} is the start of {len(run_folders)} run ids: {ids}")
    return run_folders[0] if run_folders else None


def _make_record(
    name: str, run_folder: RunFolder, attempts: Sequence[AttemptFolder]
) -> dict[str, object]:
    """Return the newest log that is not empty, and the last metrics, as a JSON record."""
    attempt = _find_newest_log(attempts) or attempts[-1]
    end = attempts[-1].read_end()
    return {
        "cell": name,
        "run": run_folder.id,
        "attempt": attempt.number,
        "newest_attempt": attempts[-1].number,
        "ended_as": end.kind if end else None,
        "log": str(attempt.log_path),
        "text": _read_log(attempt),
        "last_metrics": _read_last_metrics(run_folder),
    }


def _find_newest_log(attempts: Sequence[AttemptFolder]) -> AttemptFolder | None:
    """Return the newest attempt whose log is not empty."""
    return next((a for a in reversed(attempts) if _read_log(a).strip()), None)


def _describe_logs(attempts: Sequence[AttemptFolder]) -> Iterator[str]:
    """Yield the newest log that is not empty, and which one it is."""
    newest, attempt = attempts[-1], _find_newest_log(attempts)
    if attempt is not None:
        yield _read_log(attempt).rstrip("\n")
        yield f"({attempt.log_path}, attempt {attempt.number} of {len(attempts)})"
    if not _read_log(newest).strip():
        end = newest.read_end()
        ending = f"ended as {end.kind}" if end else "has not ended"
        yield (
            f"attempt {newest.number} of {len(attempts)} printed nothing and {ending}: "
            f"{newest.log_path} is empty"
        )


def _read_log(attempt: AttemptFolder) -> str:
    try:
        return attempt.log_path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _describe_last_metrics(run_folder: RunFolder) -> Iterator[str]:
    """Yield the last metrics of training and of validation, and where all of them are."""
    last_records = _read_last_metrics(run_folder)
    for phase in ("train", "validation"):
        record = last_records.get(phase, {})
        values = [f"{k} {record[k]:.4g}" for k in METRICS_SHOWN if _is_number(record.get(k))]
        if values:
            yield f"last metrics of {phase}, step {record.get('step')}: {', '.join(values)}"
    if last_records:
        metrics_path = run_folder.get_attempt(run_folder.list_attempts()[-1]).metrics_path
        yield f"all metrics: {metrics_path}"


def _read_last_metrics(run_folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Return the last record of each phase, "train" or "validation"."""
    return {record.get("phase", "train"): record for record in run_folder.read_history()}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
