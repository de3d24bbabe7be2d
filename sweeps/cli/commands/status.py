"""`sweep.py status`: show the status of every cell."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from sweeps.config.selection import SWEEP_HELP, print_notes, require_no_cells, select_plan
from sweeps.costs.audit_scope import find_refusal
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
from uniclip.io.atomic import atomic_write
from uniclip.store import Plan, RunStatus, Store

if TYPE_CHECKING:
    from rich.console import Console


PAGE_NAME = "status.html"
"""File of `--html` without a name."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, and the flags --json, --html and --watch."""
    parser.add_argument("names", nargs="*", metavar="sweep", help=SWEEP_HELP)
    parser.add_argument("--json", action="store_true", help="print one JSON record per cell")
    parser.add_argument(
        "--html",
        nargs="?",
        const=PAGE_NAME,
        metavar="FILE",
        help=f"write a page with cells, curves, scores and use of the machines ({PAGE_NAME})",
    )
    parser.add_argument("--watch", action="store_true", help="redraw the table every two seconds")


def run(arguments: Namespace) -> int:
    """Print the status of every cell, and one line of advice for each status."""
    if arguments.watch and (arguments.json or arguments.html):
        flag = "--json prints" if arguments.json else "--html writes"
        raise UserError(f"--watch draws on a terminal, {flag} once: choose one")
    selection = select_plan("status", arguments.names, arguments.overrides)
    require_no_cells("status", selection.cell_names)
    plan, store = selection.plan, selection.store
    print_notes(selection.notes)
    if arguments.json:
        print_json(to_records(build_rows(store, plan)))
        if not arguments.html:
            return 0
    num_workers = selection.settings.max_parallel_runs(plan.num_threads)
    if arguments.html:
        _write_page(store, plan, num_workers, Path(arguments.html))
        return 0
    console = make_console()
    meter = ProgressMeter(store=store, num_workers=num_workers, started_at=None)
    if arguments.watch:
        watch(console, lambda: _build_lines(console, meter, plan, build_rows(store, plan)))
    rows = build_rows(store, plan)
    print_lines(console, _build_lines(console, meter, plan, rows, whole=True))
    refusal = find_refusal(store.get_sweep(plan.sweep_id), plan)
    notes = [refusal] if refusal is not None else [*_list_next_steps(rows)]
    for note in (*notes, *describe_tunings(store, plan.sweep_id)):
        print_lines(console, wrap_text(note, console.width, "  "))
    return 0


def _write_page(store: Store, plan: Plan, num_workers: int, path: Path) -> None:
    """Write the page of a sweep, which has links to files of the store."""
    from sweeps.monitor.page_source import PageSource, render_status_page  # here: it needs pandas

    store_url = f"{quote(os.path.relpath(store.root, path.resolve().parent))}/"
    source = PageSource(store, plan, num_workers=num_workers, store_url=store_url)
    atomic_write(path, render_status_page(plan, source.read_payload()).encode())
    print(f"page: {path}", file=sys.stderr)


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
