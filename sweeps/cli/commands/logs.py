"""`sweep.py logs`: print the log of a cell."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ablations.plan.plan import find_cell
from sweeps.config.request import parse_request
from uniclip.errors import UserError


def add_arguments(parser: ArgumentParser) -> None:
    """Add the cell."""
    parser.add_argument(
        "names", nargs="*", metavar="cell", help="<arm>/<seed>, or the start of a run id"
    )


def run(arguments: Namespace) -> int:
    """Print the log of the cell's newest attempt, and its path."""
    request = parse_request(arguments.overrides)
    plan = request.load_or_build_plan()
    if len(arguments.names) != 1:
        raise UserError("logs takes one cell: <arm>/<seed>, or the start of a run id")
    (name,) = arguments.names
    run_folder = request.store.get_run(find_cell(plan, name).run_id)
    attempt_numbers = run_folder.list_attempts()
    if not attempt_numbers:
        worker_logs = request.store.get_sweep(plan.sweep_id).worker_logs_path
        hint = f"; the logs of the workers are in {worker_logs}" if worker_logs.exists() else ""
        raise UserError(f"{name} has not been run: there is no log yet{hint}")
    log_path = run_folder.get_attempt(attempt_numbers[-1]).log_path
    print(log_path.read_text(errors="replace") if log_path.exists() else "", end="")
    print(f"({log_path}, attempt {attempt_numbers[-1]} of {len(attempt_numbers)})")
    return 0
