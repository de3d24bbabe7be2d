"""`sweep.py status`: show the status of every cell."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from sweeps.config.selection import SWEEP_HELP, print_notes, require_no_cells, select_plan
from sweeps.monitor.display import build_table
from sweeps.monitor.status import ADVICE, build_rows, describe_tunings, to_records
from sweeps.monitor.terminal import make_console, print_json, watch
from uniclip.errors import UserError
from uniclip.store import RunStatus


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, and the flags --json and --watch."""
    parser.add_argument("names", nargs="*", metavar="sweep", help=SWEEP_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON record per cell")
    parser.add_argument("--watch", action="store_true", help="redraw the table every two seconds")


def run(arguments: Namespace) -> int:
    """Print the status of every cell, and one line of advice for each status."""
    if arguments.json and arguments.watch:
        raise UserError("--watch draws on a terminal, --json prints once: choose one")
    selection = select_plan("status", arguments.names, arguments.overrides)
    require_no_cells("status", selection.cell_names)
    plan, store = selection.plan, selection.store
    print_notes(selection.notes)
    if arguments.json:
        print_json(to_records(build_rows(store, plan)))
        return 0
    if arguments.watch:
        watch(lambda: build_table(build_rows(store, plan)))
    rows = build_rows(store, plan)
    console = make_console()
    console.print(build_table(rows))
    for status in dict.fromkeys(row.status for row in rows):
        if status not in (RunStatus.COMPLETE, RunStatus.RUNNING):
            console.print(f"next step for {status} cells: {ADVICE[status]}", markup=False)
    for line in describe_tunings(store, plan.sweep_id):
        console.print(line, markup=False)
    return 0
