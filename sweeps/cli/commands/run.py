"""`sweep.py ablation=...`: plan, run what is missing, report."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ablations.plan.plan import build_plan
from sweeps.cli.commands.report import print_report
from sweeps.config.request import parse_request
from sweeps.controller.controller import Detached, SweepController, build_controller, run_cells
from uniclip.store import RunStatus

EXIT_CELLS_FAILED = 1


def add_arguments(parser: ArgumentParser) -> None:
    """Add nothing: a run has neither names nor flags."""


def run(arguments: Namespace) -> int:
    """Run the cells that are missing, then build the report."""
    request = parse_request(arguments.overrides)
    return run_and_report(build_controller(request, build_plan(request.plan_request)))


def run_and_report(controller: SweepController) -> int:
    """Run what is missing and build the report; return the exit status.

    The status is 1 if a cell failed or, unless only part of a plan was run, if a planted effect
    was not found.
    """
    try:
        rows = run_cells(controller)
    except Detached as detached:
        print(detached)
        return 0
    report_status = print_report(controller.store, controller.plan)
    if any(row.state.status in (RunStatus.FAILED, RunStatus.STALLED) for row in rows):
        return EXIT_CELLS_FAILED
    return 0 if controller.is_partial else report_status
