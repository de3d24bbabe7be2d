"""`sweep.py diff`: show the configuration keys in which two cells differ."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from rich.table import Table
from rich.text import Text

from ablations.plan.plan import build_plan, find_cell
from sweeps.config.request import parse_request
from sweeps.controller.plan_merge import merge_with_stored_plan
from sweeps.monitor.terminal import make_console
from uniclip.config.compose import flatten
from uniclip.errors import UserError


def add_arguments(parser: ArgumentParser) -> None:
    """Add the cells."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="cell",
        help="one or two of <arm>/<seed>; one is compared with the reference arm",
    )


def run(arguments: Namespace) -> int:
    """Print the keys and values in which the specifications of two runs differ."""
    request = parse_request(arguments.overrides)
    resolved_plan = merge_with_stored_plan(build_plan(request.plan_request), request.store)
    plan = resolved_plan.plan
    if not 1 <= len(arguments.names) <= 2:
        raise UserError("diff takes one cell or two: <arm>/<seed>")
    cells = [find_cell(plan, name) for name in arguments.names]
    if len(cells) == 1:
        cells.insert(0, find_cell(plan, f"{plan.reference}/{cells[0].seed}"))
    specs = [flatten(resolved_plan.specs[cell.run_id]) for cell in cells]
    table = Table("key", *(cell.name for cell in cells), box=None, pad_edge=False)
    for key in dict.fromkeys(key for spec in specs for key in spec):
        values = [spec.get(key, "-") for spec in specs]
        if values[0] != values[1]:
            table.add_row(*(Text(str(v)) for v in (key.removeprefix("config."), *values)))
    is_same_run = cells[0].run_id == cells[1].run_id
    summary = "the same run" if is_same_run else f"{table.row_count} keys differ"
    console = make_console()
    console.print(
        f"{cells[0].name} is {cells[0].run_id}, {cells[1].name} is {cells[1].run_id}: {summary}"
    )
    if table.row_count:
        console.print(table)
    return 0
