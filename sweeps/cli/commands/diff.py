"""`sweep.py diff`: show in what two cells, two runs or two sweeps differ."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablations.plan.plan import find_cell
from sweeps.cli.commands.logs import find_run
from sweeps.config.request import parse_request
from sweeps.config.selection import (
    CELL_HELP,
    describe_same_words,
    find_sweep,
    has_ablation,
    open_store,
    print_notes,
    select_plan,
)
from sweeps.controller.plan_merge import merge_with_stored_plan
from sweeps.monitor.columns import Column
from sweeps.monitor.sweep_diff import compare_sweeps, format_plain
from sweeps.monitor.terminal import make_console, print_table
from uniclip.config.compose import flatten
from uniclip.errors import UserError
from uniclip.store import Plan, Store

USAGE = "diff takes one cell or two of a sweep, two runs, or the ids of two sweeps"


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One of the two runs that are compared."""

    name: str
    run_id: str
    spec: Mapping[str, Any]


def add_arguments(parser: ArgumentParser) -> None:
    """Add the cells or sweeps."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="cell or sweep",
        help=f"one cell, which is compared with the reference arm, or two: {CELL_HELP}; or two "
        "sweep ids, whose configuration, arms, data and primary scores are compared",
    )


def run(arguments: Namespace) -> int:
    """Print what differs between two cells, or between two sweeps."""
    names, overrides = arguments.names, arguments.overrides
    if not has_ablation(overrides) and names:
        store = open_store(overrides)
        if len(names) == 2 and _print_stored_diff(store, names):
            return 0
    sides = _find_cells(names, overrides)
    _print_diff(*sides)
    return 0


def _print_stored_diff(store: Store, names: Sequence[str]) -> bool:
    """Print the comparison of two sweeps or of two runs; return False if the names are neither."""
    folders = [find_sweep(store, name) for name in names]
    plans = [folder.read_plan() for folder in folders if folder is not None]
    if len(plans) == 2 and plans[0] is not None and plans[1] is not None:
        _print_sweep_diff(store, (plans[0], plans[1]))
        return True
    runs = [find_run(store, name) for name in names]
    if runs[0] is not None and runs[1] is not None:
        _print_diff(*(_Side(name=r.id, run_id=r.id, spec=r.read_spec()) for r in runs if r))
        return True
    return False


def _find_cells(names: Sequence[str], overrides: list[str]) -> list[_Side]:
    """Return the two cells that names select; the reference arm completes a single one."""
    if has_ablation(overrides) or not names:
        request = parse_request(overrides)
        resolved_plan = merge_with_stored_plan(request.build_plan(), request.store)
        print_notes(describe_same_words(request.store, resolved_plan.plan))
        plan, specs, cell_names = resolved_plan.plan, resolved_plan.specs, list(names)
    else:
        selection = select_plan("diff", names, overrides)
        print_notes(selection.notes)
        plan, cell_names = selection.plan, selection.cell_names
        specs = _ReadSpecs(selection.store)
    if not 1 <= len(cell_names) <= 2:
        raise UserError(f"{USAGE}; a cell is <arm>/<seed>, such as {plan.cells[0].name}")
    cells = [find_cell(plan, name) for name in cell_names]
    if len(cells) == 1:
        cells.insert(0, find_cell(plan, f"{plan.reference}/{cells[0].seed}"))
    return [_Side(name=c.name, run_id=c.run_id, spec=specs[c.run_id]) for c in cells]


class _ReadSpecs(dict[str, dict[str, Any]]):
    """Run id -> spec, read from a store."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def __missing__(self, run_id: str) -> dict[str, Any]:
        try:
            return self._store.get_run(run_id).read_spec()
        except FileNotFoundError:
            raise UserError(f"run {run_id} was never started: it has no spec to compare") from None


def _print_diff(first: _Side, second: _Side) -> None:
    """Print the keys and values in which the specs of two runs differ."""
    specs = [flatten(side.spec) for side in (first, second)]
    rows = [
        (key.removeprefix("config."), *(format_plain(spec.get(key, "-")) for spec in specs))
        for key in dict.fromkeys(key for spec in specs for key in spec)
        if specs[0].get(key, "-") != specs[1].get(key, "-")
    ]
    summary = "the same run" if first.run_id == second.run_id else f"{len(rows)} keys differ"
    console = make_console()
    console.print(
        f"{first.name} is {first.run_id}, {second.name} is {second.run_id}: {summary}",
        markup=False,
    )
    if rows:
        print_table(console, [Column("key"), Column(first.name), Column(second.name)], rows)


def _print_sweep_diff(store: Store, plans: tuple[Plan, Plan]) -> None:
    """Print in what two sweeps of a store differ."""
    console = make_console()
    ids = [plan.sweep_id for plan in plans]
    if ids[0] == ids[1]:
        console.print(f"{ids[0]} is compared with itself: name two sweeps", markup=False)
        return
    for section in compare_sweeps((store, store), plans):
        if section.rows:
            console.print(f"{section.title}:", markup=False)
            print_table(console, [Column("  "), *map(Column, ids)], _indent(section.rows))
        else:
            console.print(f"{section.title}: {section.note}", markup=False)


def _indent(rows: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return [(f"  {name}", first, second) for name, first, second in rows]
