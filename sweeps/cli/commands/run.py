"""`sweep.py ablation=...`: plan, run what is missing, report."""

from __future__ import annotations

import errno
from argparse import ArgumentParser, Namespace

from sweeps.cli import composed_config
from sweeps.cli.commands.report import print_report
from sweeps.config.selection import (
    SWEEP_HELP,
    describe_same_words,
    print_notes,
    require_no_cells,
    select_request,
)
from sweeps.controller.controller import Detached, SweepController
from sweeps.controller.sweep_notifier import build_notifier
from sweeps.controller.sweep_run import UNFINISHED_WITH_REASON, build_controller, run_cells

EXIT_CELLS_FAILED = 1


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, and the flags that print its configuration."""
    parser.add_argument("names", nargs="*", metavar="sweep", help=SWEEP_HELP)
    composed_config.add_arguments(parser)


def run(arguments: Namespace) -> int:
    """Run the cells that are missing, then build the report."""
    if composed_config.is_requested(arguments):
        composed_config.print_requested(arguments)
        return 0
    request, cell_names = select_request("run", arguments.names, arguments.overrides)
    require_no_cells("run", cell_names)
    resolved_plan = request.build_plan()
    print_notes(describe_same_words(request.store, resolved_plan.plan))
    return run_and_report(build_controller(request, resolved_plan))


def run_and_report(controller: SweepController) -> int:
    """Run what is missing and build the report; return the exit status.

    The status is 1 if a cell failed or, unless only part of a plan was run, if a planted effect
    was not found.
    """
    with build_notifier(controller) as notifier:
        try:
            rows = run_cells(controller)
        except Detached as detached:
            print(detached)
            return 0
        if notifier is not None:
            notifier.is_done = True
        report_status = _print_report_if_possible(controller)
    if controller.denied_runs or any(r.state.status in UNFINISHED_WITH_REASON for r in rows):
        return EXIT_CELLS_FAILED
    return 0 if controller.is_partial else report_status


def _print_report_if_possible(controller: SweepController) -> int:
    """Build the report and print its summary; in a read-only store say that it is not written."""
    try:
        return print_report(controller.store, controller.plan)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        path = error.filename or controller.store.root
        print(f"report: not written ({path}: {error.strerror}); the results are complete")
        return 0
