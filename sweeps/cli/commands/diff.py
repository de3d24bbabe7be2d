"""`sweep.py diff`: show in what two cells, two runs or two sweeps differ."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
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
from sweeps.monitor.sweep_diff import ABSENT, DiffSection, compare_sweeps, format_plain
from sweeps.monitor.terminal import make_console, print_json, print_table
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
    """Add the cells or sweeps, and the flag --json."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="cell or sweep",
        help=f"one cell, which is compared with the reference arm, or two: {CELL_HELP}; or two "
        "sweep ids, whose configuration, arms, data and primary scores are compared",
    )
    parser.add_argument("--json", action="store_true", help="print what differs as JSON")


def run(arguments: Namespace) -> int:
    """Print what differs between two cells, or between two sweeps."""
    names, overrides = arguments.names, arguments.overrides
    if not has_ablation(overrides) and names:
        store = open_store(overrides)
        if len(names) == 2 and _print_stored_diff(store, names, as_json=arguments.json):
            return 0
    sides = _find_cells(names, overrides)
    _print_diff(*sides, as_json=arguments.json)
    return 0


def _print_stored_diff(store: Store, names: Sequence[str], *, as_json: bool) -> bool:
    """Print the comparison of two sweeps or of two runs; return False if the names are neither."""
    folders = [find_sweep(store, name) for name in names]
    plans = [folder.read_plan() for folder in folders if folder is not None]
    if len(plans) == 2 and plans[0] is not None and plans[1] is not None:
        _print_sweep_diff(store, (plans[0], plans[1]), as_json=as_json)
        return True
    runs = [find_run(store, name) for name in names]
    if runs[0] is not None and runs[1] is not None:
        sides = [_Side(name=r.id, run_id=r.id, spec=r.read_spec()) for r in runs if r]
        _print_diff(*sides, as_json=as_json)
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


def _print_diff(first: _Side, second: _Side, *, as_json: bool) -> None:
    """Print the keys and values in which the specs of two runs differ."""
    specs = [flatten(side.spec) for side in (first, second)]
    rows = [
        (key.removeprefix("config."), *(spec.get(key, ABSENT) for spec in specs))
        for key in dict.fromkeys(key for spec in specs for key in spec)
        if specs[0].get(key, ABSENT) != specs[1].get(key, ABSENT)
    ]
    if as_json:
        differences = [_make_difference("configuration", row) for row in rows]
        _print_record((first.name, second.name), (first.run_id, second.run_id), differences)
        return
    summary = "the same run" if first.run_id == second.run_id else f"{len(rows)} keys differ"
    console = make_console()
    console.print(
        f"{first.name} is {first.run_id}, {second.name} is {second.run_id}: {summary}",
        markup=False,
    )
    if rows:
        columns = [Column("key"), Column(first.name), Column(second.name)]
        print_table(console, columns, [(key, *map(format_plain, values)) for key, *values in rows])


def _print_sweep_diff(store: Store, plans: tuple[Plan, Plan], *, as_json: bool) -> None:
    """Print in what two sweeps of a store differ."""
    console = make_console()
    ids = (plans[0].sweep_id, plans[1].sweep_id)
    is_same = ids[0] == ids[1]
    if as_json:
        _print_sweep_record(ids, [] if is_same else compare_sweeps((store, store), plans))
        return
    if is_same:
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


def _print_sweep_record(ids: tuple[str, str], sections: Iterable[DiffSection]) -> None:
    """Print the comparison of two sweeps as a JSON record."""
    differences, notes = [], []
    for section in sections:
        differences += [_make_difference(section.title, row) for row in section.rows]
        if not section.rows:
            notes.append(f"{section.title}: {section.note}")
    _print_record(ids, (None, None), differences, notes)


def _make_difference(section: str, row: Sequence[object]) -> dict[str, object]:
    name, first, second = row
    return {"section": section, "name": name, "first": first, "second": second}


def _print_record(
    names: tuple[str, str],
    run_ids: tuple[str | None, str | None],
    differences: Sequence[Mapping[str, object]],
    notes: Sequence[str] = (),
) -> None:
    """Print a comparison as a JSON record."""
    record = {
        "first": names[0],
        "second": names[1],
        "first_run": run_ids[0],
        "second_run": run_ids[1],
        "differences": differences,
        "notes": notes,
    }
    print_json(record)
