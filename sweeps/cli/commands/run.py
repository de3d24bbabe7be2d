"""`sweep.py ablation=...`: plan, run what is missing, report."""

from __future__ import annotations

import errno
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sweeps.cli import composed_config
from sweeps.cli.commands.report import print_report
from sweeps.config.request import SweepRequest
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
from sweeps.monitor.notifier import Notifier
from sweeps.monitor.status import CellRow, build_rows
from sweeps.monitor.terminal import divert_text, print_json
from uniclip.errors import UserError

EXIT_CELLS_FAILED = 1
JSON_HELP = "print one JSON record at the end, and everything else on standard error"


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """How a command that runs cells has ended."""

    sweep_id: str
    rows: Iterable[CellRow]
    exit_status: int
    report: Path | None = None
    """Folder of the report; None if it was not written."""
    message: str = ""
    """Why the command has ended before the sweep."""

    def finish(self, *, as_json: bool) -> int:
        """Return the exit status; print the record first if the command prints JSON."""
        if as_json:
            record = {
                "sweep": self.sweep_id,
                "cells": Counter(row.status for row in self.rows),
                "report": str(self.report) if self.report else None,
                "exit_status": self.exit_status,
                "message": self.message,
            }
            print_json(record)
        return self.exit_status


def add_arguments(parser: ArgumentParser) -> None:
    """Add the sweep, the flag --json, and the flags that print its configuration."""
    parser.add_argument("names", nargs="*", metavar="sweep", help=SWEEP_HELP)
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    composed_config.add_arguments(parser)


def run(arguments: Namespace) -> int:
    """Run the cells that are missing, then build the report."""
    if composed_config.is_requested(arguments):
        if arguments.json:
            raise UserError("--cfg and --info print the configuration: leave out --json")
        composed_config.print_requested(arguments)
        return 0
    request, cell_names = select_request("run", arguments.names, arguments.overrides)
    require_no_cells("run", cell_names)
    resolved_plan = request.build_plan()
    print_notes(describe_same_words(request.store, resolved_plan.plan))
    with divert_text(is_diverted=arguments.json):
        result = run_and_report(build_controller(request, resolved_plan), request)
    return result.finish(as_json=arguments.json)


def run_and_report(controller: SweepController, request: SweepRequest | None = None) -> SweepResult:
    """Run what is missing and build the report, and notify the user; return how it has ended.

    With the request of an adaptive sweep, all of its rounds are run.

    The exit status is 1 if a cell failed or, unless only part of a plan was run, if a planted
    effect was not found.
    """
    store, plan, display = controller.store, controller.plan, controller.display
    with build_notifier(controller.settings, store, plan, display) as notifier:
        return run_notified(controller, notifier, request)


def run_notified(
    controller: SweepController, notifier: Notifier, request: SweepRequest | None = None
) -> SweepResult:
    """Run what is missing and build the report, as `run_and_report`, while a notifier watches."""
    notifier.watch(controller.plan.sweep_id)
    try:
        rows = run_cells(controller, request)
    except Detached as detached:
        print(detached)
        return SweepResult(
            sweep_id=controller.plan.sweep_id,
            rows=build_rows(controller.store, controller.plan),
            exit_status=0,
            message=str(detached),
        )
    notifier.is_done = True
    report_status = _print_report_if_possible(controller)
    if controller.denied_runs or any(r.state.status in UNFINISHED_WITH_REASON for r in rows):
        exit_status = EXIT_CELLS_FAILED
    else:
        exit_status = 0 if controller.is_partial else report_status or 0
    sweep_id = controller.plan.sweep_id
    report = controller.store.report_path(sweep_id) if report_status is not None else None
    return SweepResult(sweep_id=sweep_id, rows=rows, exit_status=exit_status, report=report)


def _print_report_if_possible(controller: SweepController) -> int | None:
    """Build the report and print its summary; return its exit status.

    In a read-only store say that it is not written, and return None.
    """
    try:
        return print_report(controller.store, controller.plan)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        path = error.filename or controller.store.root
        print(f"report: not written ({path}: {error.strerror}); the results are complete")
        return None
