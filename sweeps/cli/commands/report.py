"""`sweep.py report`: build the report from the existing results."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from sweeps.config.selection import (
    SWEEP_HELP,
    print_notes,
    require_no_cells,
    select_plan,
    suggest_other_sweeps,
)
from sweeps.monitor.terminal import print_json
from uniclip.errors import UserError
from uniclip.store import Plan, Store

if TYPE_CHECKING:
    from analysis.report.build import ReportResult

EXIT_PLANTED_EFFECT_MISSED = 1
FAILED = "not confirmed"
"""Status of a planted effect (`analysis.results.planted_effects`, which imports scipy)."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, and the flags --force and --json."""
    parser.add_argument("names", nargs="*", metavar="sweep", help=SWEEP_HELP)
    parser.add_argument("--force", action="store_true", help="rebuild it even if nothing changed")
    parser.add_argument("--json", action="store_true", help="print folder and summary as JSON")


def run(arguments: Namespace) -> int:
    """Build the report of a sweep and print its summary."""
    plan, store = select_stored_plan("report", arguments)
    return print_report(store, plan, force=arguments.force, as_json=arguments.json)


def select_stored_plan(command: str, arguments: Namespace) -> tuple[Plan, Store]:
    """Return the sweep that a command line names, and its store; it prints what the user should
    know of the selection.

    Args:
        command: the command, for messages.
        arguments: its names and overrides.

    Raises:
        UserError: the sweep was not run in the store.
    """
    selection = select_plan(command, arguments.names, arguments.overrides)
    require_no_cells(command, selection.cell_names)
    plan, store = selection.plan, selection.store
    if store.get_sweep(plan.sweep_id).read_plan() is None:
        hint = suggest_other_sweeps(store, plan, command)
        raise UserError(
            f"sweep {plan.sweep_id} has not been run in store={store.root}{'; ' * bool(hint)}{hint}"
        )
    print_notes(selection.notes)
    return plan, store


def print_report(store: Store, plan: Plan, *, force: bool = False, as_json: bool = False) -> int:
    """Build the report, print its summary, and return 1 if a planted effect is not confirmed.

    One that is not checked, because its sweep has fewer seeds than the first look, counts as
    neither.
    """
    from analysis.report.build import build_report  # here: other commands need no report

    report = build_report(store, plan.sweep_id, force=force)
    if as_json:
        print_json(_to_record(plan, report))
    else:
        _print_lines(report)
    is_missed = any(check.status == FAILED for check in report.planted_results)
    return EXIT_PLANTED_EFFECT_MISSED if is_missed else 0


def _print_lines(report: ReportResult) -> None:
    for line in report.summary:
        print(line)
    for note in report.notes:
        print(f"note: {note}")
    print(f"report: {report.folder / 'report.html'}{'' if report.rebuilt else ' (unchanged)'}")
    for check in report.planted_results:
        label = check.status.upper() if check.status == FAILED else check.status
        print(f"planted effect: {label}: {check.description} ({check.detail})")


def _to_record(plan: Plan, report: ReportResult) -> dict[str, object]:
    """Return a report as a JSON record."""
    return {
        "sweep": plan.sweep_id,
        "folder": str(report.folder),
        "is_rebuilt": report.rebuilt,
        "summary": report.summary,
        "notes": report.notes,
        "planted_effects": [
            {"status": c.status, "description": c.description, "detail": c.detail}
            for c in report.planted_results
        ],
    }
