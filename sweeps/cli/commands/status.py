"""`sweep.py status`: show the status of every cell."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sweeps.config.selection import SWEEP_HELP, print_notes, require_no_cells, select_plan
from sweeps.monitor.columns import wrap_text
from sweeps.monitor.display import build_status_lines
from sweeps.monitor.progress import ProgressMeter
from sweeps.monitor.status import CellRow, build_rows, describe_tunings, to_records
from sweeps.monitor.terminal import (
    Line,
    get_screen_size,
    is_screen,
    make_console,
    needs_ascii,
    print_json,
    print_lines,
    watch,
)
from uniclip.errors import UserError
from uniclip.store import Plan, RunStatus

if TYPE_CHECKING:
    from rich.console import Console


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
    console = make_console()
    num_workers = selection.settings.max_parallel_runs(plan.num_threads)
    meter = ProgressMeter(store=store, num_workers=num_workers, started_at=None)
    if arguments.watch:
        watch(console, lambda: _build_lines(console, meter, plan, build_rows(store, plan)))
    rows = build_rows(store, plan)
    print_lines(console, _build_lines(console, meter, plan, rows, whole=True))
    for note in (*_list_next_steps(rows), *describe_tunings(store, plan.sweep_id)):
        print_lines(console, wrap_text(note, console.width, "  "))
    return 0


def _build_lines(
    console: Console,
    meter: ProgressMeter,
    plan: Plan,
    rows: Sequence[CellRow],
    *,
    whole: bool = False,
) -> list[Line]:
    """Return the lines of the status; unless `whole`, those that a terminal can redraw."""
    width, height = console.width, None
    if is_screen(console):
        columns, num_lines = get_screen_size(console)
        width, height = columns - 1, None if whole else num_lines - 1
    return build_status_lines(
        rows,
        meter.measure(plan, rows),
        width=width,
        height=height,
        use_ascii=needs_ascii(console),
    )


def _list_next_steps(rows: Sequence[CellRow]) -> Iterator[str]:
    """Yield a line for each advice, with the status of the cells that need it."""
    for status, advice in dict.fromkeys((row.status, row.advice) for row in rows):
        if status not in (RunStatus.COMPLETE, RunStatus.RUNNING):
            yield f"next step for {status} cells: {advice}"
